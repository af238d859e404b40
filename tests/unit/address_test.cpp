#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <onloop/address.hpp>

#include <string>
#include <system_error>

#include "core/net/socket.hpp"

namespace onloop {
namespace {

using Family = Address::Family;
using ::testing::HasSubstr;

std::string refusal(std::string_view text) {
  try {
    (void)Address::parse(text);
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code(), std::errc::invalid_argument) << text;
    return error.what();
  }
  ADD_FAILURE() << text << " was taken";
  return {};
}

TEST(Address, ReadsEveryFormAndWritesItBack) {
  const std::pair<const char*, Family> forms[] = {
      {"127.0.0.1:8080", Family::ipv4},    {"0.0.0.0:0", Family::ipv4},
      {"[::1]:8080", Family::ipv6},        {"[::]:65535", Family::ipv6},
      {"localhost:80", Family::localhost}, {"unix:/run/app.sock", Family::unix_path},
      {"unix:a b", Family::unix_path},     {"unix:@name", Family::unix_abstract},
      {"fd:3", Family::inherited},         {"fd:http", Family::inherited},
  };
  for (const auto& [text, family] : forms) {
    const Address address = Address::parse(text);
    EXPECT_EQ(address.family(), family) << text;
    EXPECT_EQ(address.to_string(), text);
    EXPECT_EQ(Address::parse(address.to_string()), address);
  }
}

TEST(Address, ReadsAZone) {
  const Address address = Address::parse("[fe80::1%lo]:1");
  EXPECT_EQ(address.scope(), 1u);
  EXPECT_EQ(address.to_string(), "[fe80::1%lo]:1");
  EXPECT_EQ(Address::parse("[fe80::1%999]:1").to_string(), "[fe80::1%999]:1");
}

TEST(Address, HasAPortOnlyWhereThereIsOne) {
  EXPECT_EQ(Address::parse("127.0.0.1:8080").port(), 8080);
  EXPECT_EQ(Address::parse("unix:/x").port(), 0);
}

TEST(Address, RefusesInWords) {
  EXPECT_THAT(refusal(""), HasSubstr("has no port"));
  EXPECT_THAT(refusal("127.0.0.1"), HasSubstr("has no port"));
  EXPECT_THAT(refusal("127.0.0.1:"), HasSubstr("not a port"));
  EXPECT_THAT(refusal("127.0.0.1:65536"), HasSubstr("not a port"));
  EXPECT_THAT(refusal("127.0.0.1:-1"), HasSubstr("not a port"));
  EXPECT_THAT(refusal("127.0.0.1:80x"), HasSubstr("not a port"));
  EXPECT_THAT(refusal("127.0.0.1: 80"), HasSubstr("not a port"));
  EXPECT_THAT(refusal("example.org:99999"), HasSubstr("not a port"));
  EXPECT_THAT(refusal("no name:80"), HasSubstr("not an IPv4 address or a host name"));
  EXPECT_THAT(refusal("127.0.0.256:80"), HasSubstr("not an IPv4 address"));
  EXPECT_THAT(refusal("127.1:80"), HasSubstr("not an IPv4 address"));
  EXPECT_THAT(refusal("example.org:80"), HasSubstr("names are not resolved"));
  EXPECT_THAT(refusal("::1:80"), HasSubstr("[::1]:8080"));
  EXPECT_THAT(refusal("[::1]"), HasSubstr("[::1]:8080"));
  EXPECT_THAT(refusal("[::1"), HasSubstr("[::1]:8080"));
  EXPECT_THAT(refusal("[::g]:80"), HasSubstr("not an IPv6 address"));
  EXPECT_THAT(refusal("[fe80::1%nosuch]:80"), HasSubstr("no interface"));
  EXPECT_THAT(refusal("unix:"), HasSubstr("must follow unix:"));
  EXPECT_THAT(refusal("unix:@"), HasSubstr("must follow unix:"));
  EXPECT_THAT(refusal("unix:" + std::string(108, 'x')), HasSubstr("at most 107"));
  EXPECT_THAT(refusal("unix:@" + std::string(108, 'x')), HasSubstr("at most 107"));
  for (const std::string_view text : {std::string_view("unix:/a\0b", 9), std::string_view("127.0.0.1\0evil:80", 17),
                                      std::string_view("[::1\0evil]:80", 13), std::string_view("localhost\0:80", 13),
                                      std::string_view("127.0.0.1:80\0", 13), std::string_view("fd:3\0", 5)}) {
    EXPECT_THAT(refusal(text), HasSubstr("only an abstract name can hold a zero byte"));
    EXPECT_THAT(refusal(text), HasSubstr("\\0"));
  }
  EXPECT_THAT(refusal("fd:"), HasSubstr("must follow fd:"));
}

TEST(Address, TakesTheLongestUnixNames) {
  for (const std::string& text : {"unix:" + std::string(107, 'x'), "unix:@" + std::string(107, 'x')}) {
    detail::SocketAddress raw(Address::parse(text));
    EXPECT_EQ(raw.to_address().to_string(), text);
  }
}

TEST(Address, SurvivesTheKernelsForm) {
  for (const char* text : {"127.0.0.1:8080", "[::1]:8080", "[fe80::1%lo]:9", "unix:/run/a", "unix:@b"}) {
    EXPECT_EQ(detail::SocketAddress(Address::parse(text)).to_address(), Address::parse(text)) << text;
  }
}

TEST(Address, LocalhostStandsForBothLoopbackAddresses) {
  const std::vector<Address> both = detail::expand(Address::parse("localhost:7"));
  ASSERT_EQ(both.size(), 2u);
  EXPECT_EQ(both[0].to_string(), "[::1]:7");
  EXPECT_EQ(both[1].to_string(), "127.0.0.1:7");
}

TEST(Address, OfAnUnboundUnixClientIsNone) {
  detail::SocketAddress raw;
  raw.storage.ss_family = AF_UNIX;
  raw.length = sizeof(sa_family_t);
  EXPECT_EQ(raw.to_address().family(), Family::none);
  EXPECT_EQ(raw.to_address().to_string(), "unknown");
}

// The address of a socket without a name. Its text must not look like an address of any family.
TEST(Address, ThatIsNoneReadsAsNoFamily) {
  EXPECT_EQ(Address{}.to_string(), "unknown");
  EXPECT_THAT(refusal("unknown"), HasSubstr("it has no port"));
}

}  // namespace
}  // namespace onloop
