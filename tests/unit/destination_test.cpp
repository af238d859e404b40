// Where a connection goes: an address or a name, read from one text or from a host and a port.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <system_error>
#include <variant>

#include "core/net/destination.hpp"

namespace onloop::detail {
namespace {

using ::testing::HasSubstr;

bool is_name(const Destination& destination) {
  return std::holds_alternative<HostName>(destination);
}

std::string refusal(std::string_view host) {
  try {
    (void)destination_of(host, 80);
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code(), std::errc::invalid_argument) << host;
    return error.what();
  }
  ADD_FAILURE() << host << " was taken";
  return {};
}

TEST(Destination, OfATextIsAnAddressOrAName) {
  for (const char* text : {"127.0.0.1:80", "[::1]:80", "localhost:80", "unix:/x", "unix:7", "unix:@x", "fd:3"}) {
    EXPECT_FALSE(is_name(parse_destination(text))) << text;
    EXPECT_EQ(to_string(parse_destination(text)), text);
  }
  for (const char* text : {"example.org:80", "a_b-c.d:0", "1a:65535"}) {
    EXPECT_TRUE(is_name(parse_destination(text))) << text;
    EXPECT_EQ(to_string(parse_destination(text)), text);
  }
}

TEST(Destination, OfAHostAndAPortIsWhatTheTextOfBothIs) {
  EXPECT_EQ(to_string(destination_of("127.0.0.1", 80)), "127.0.0.1:80");
  EXPECT_EQ(to_string(destination_of("::1", 80)), "[::1]:80");
  EXPECT_EQ(to_string(destination_of("[::1]", 80)), "[::1]:80");
  EXPECT_EQ(to_string(destination_of("fe80::1%lo", 80)), "[fe80::1%lo]:80");
  EXPECT_EQ(std::get<Address>(destination_of("localhost", 80)).family(), Address::Family::localhost);
  EXPECT_TRUE(is_name(destination_of("example.org", 80)));
}

TEST(Destination, AHostWhoseNameBeginsAFormOfAddressIsAName) {
  EXPECT_TRUE(is_name(destination_of("unix", 80)));
  EXPECT_TRUE(is_name(destination_of("fd", 80)));
}

TEST(Destination, AHostIsRefusedInWords) {
  EXPECT_THAT(refusal(""), HasSubstr("not an IPv4 address or a host name"));
  EXPECT_THAT(refusal("no name"), HasSubstr("not an IPv4 address or a host name"));
  EXPECT_THAT(refusal("127.0.0.256"), HasSubstr("not an IPv4 address or a host name"));
  EXPECT_THAT(refusal(std::string(254, 'a')), HasSubstr("not an IPv4 address or a host name"));
  EXPECT_THAT(refusal("::g"), HasSubstr("not an IPv6 address"));
  EXPECT_THAT(refusal("127.0.0.1:80"), HasSubstr("not an IPv6 address"));
  EXPECT_THAT(refusal(std::string_view("a\0b", 3)), HasSubstr("zero byte"));
}

TEST(Destination, ANameIsNoAddressToListenOn) {
  EXPECT_EQ(without_look_up(destination_of("127.0.0.1", 80)), Address::parse("127.0.0.1:80"));
  EXPECT_THROW((void)without_look_up(destination_of("example.org", 80)), std::system_error);
}

}  // namespace
}  // namespace onloop::detail
