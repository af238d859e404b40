// How http_file_server parses bytes that anybody may send. There are tables of known inputs, and random inputs for the
// cases that nobody has thought of.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "range.hpp"
#include "request.hpp"
#include "target.hpp"

namespace http {
namespace {

using Kind = Part::Kind;

constexpr unsigned kSeed = 20;
constexpr int kMutants = 20'000;

/// Changes, removes, doubles or inserts a few bytes. Most of the new bytes are from `alphabet`, the bytes that have a
/// meaning.
std::string mutant(std::string text, std::string_view alphabet, std::mt19937& random) {
  for (unsigned changes = 1 + random() % 4; changes > 0; --changes) {
    const std::size_t at = random() % (text.size() + 1);
    const char byte = random() % 4 == 0 ? static_cast<char>(random()) : alphabet[random() % alphabet.size()];
    switch (random() % 4) {
      case 0:
        text.insert(at, 1, byte);
        break;
      case 1:
        if (at < text.size()) text[at] = byte;
        break;
      case 2:
        text.erase(at, random() % 4);
        break;
      default:
        text.insert(at, text.substr(at, random() % 8));
    }
  }
  return text;
}

TEST(HttpRange, IsReadAsTheStandardHasIt) {
  constexpr std::uint64_t kSize = 100;
  const Part whole{Kind::whole, 0, kSize};
  const Part none{Kind::unsatisfiable, 0, 0};
  const struct {
    const char* range;
    Part expected;
  } table[] = {{"", whole},
               {"bytes=0-0", {Kind::part, 0, 1}},
               {"bytes=0-99", {Kind::part, 0, 100}},
               {"bytes=0-1000", {Kind::part, 0, 100}},
               {"bytes=99-", {Kind::part, 99, 1}},
               {"BYTES= 5-6 ", {Kind::part, 5, 2}},
               {"bytes=-1", {Kind::part, 99, 1}},
               {"bytes=-100", {Kind::part, 0, 100}},
               {"bytes=-101", {Kind::part, 0, 100}},
               {"bytes=0-18446744073709551615", {Kind::part, 0, 100}},
               {"bytes=0-99999999999999999999999", {Kind::part, 0, 100}},
               {"bytes=-99999999999999999999999", {Kind::part, 0, 100}},
               {"bytes=100-", none},
               {"bytes=100-200", none},
               {"bytes=99999999999999999999999-", none},
               {"bytes=-0", none},
               {"bytes=", whole},
               {"bytes=-", whole},
               {"bytes=--1", whole},
               {"bytes=1", whole},
               {"bytes=2-1", whole},
               {"bytes=0-1,5-6", whole},
               {"bytes=0x1-2", whole},
               {"bytes=+1-2", whole},
               {"bytes=1 -2", whole},
               {"bytes 0-1", whole},
               {"octets=0-1", whole}};
  for (const auto& [range, expected] : table) EXPECT_EQ(part_of(range, kSize), expected) << range;
  EXPECT_EQ(part_of("bytes=0-", 0), none);
  EXPECT_EQ(part_of("bytes=-5", 0), none);
}

TEST(HttpRange, LiesWithinTheFileWhateverIsAsked) {
  std::mt19937 random{kSeed};
  for (int round = 0; round < kMutants; ++round) {
    const std::uint64_t size = random() % 4 == 0 ? UINT64_MAX - random() % 3 : random() % 12;
    const std::string range = mutant("bytes=1-9", "0123456789-,= \t", random);
    const Part part = part_of(range, size);
    switch (part.kind) {
      case Kind::whole:
        ASSERT_TRUE(part.offset == 0 && part.length == size) << range;
        break;
      case Kind::part:
        ASSERT_TRUE(part.length > 0 && part.offset < size && part.length <= size - part.offset) << range;
        break;
      case Kind::unsatisfiable:
        ASSERT_EQ(part.length, 0U) << range;
    }
  }
}

TEST(HttpTarget, NamesAPath) {
  const struct {
    const char* target;
    std::optional<std::string> path;
  } table[] = {{"/", ""},
               {"///", ""},
               {"/a/b.html", "a/b.html"},
               {"/a/", "a/"},
               {"//a//b", "a//b"},
               {"/a?b=/../c#d", "a"},
               {"/%41%4a%4A", "AJJ"},
               {"/a%20b+c", "a b+c"},
               {"/%2e%2E/x", "../x"},
               {"/%252e", "%2e"},
               {"/a%5cb", "a\\b"},
               {"http://host/a", "a"},
               {"HTTP://host:80/a?b", "a"},
               {"http://host", ""},
               {"http://host?a", std::nullopt},
               {"http:/a", std::nullopt},
               {"a", std::nullopt},
               {"", std::nullopt},
               {"*", std::nullopt},
               {"/%", std::nullopt},
               {"/%4", std::nullopt},
               {"/%4g", std::nullopt},
               {"/% 4", std::nullopt},
               {"/%+4", std::nullopt},
               {"/%-4", std::nullopt},
               {"/%00", std::nullopt},
               {"/a%2Fb", std::nullopt}};
  for (const auto& [target, path] : table) EXPECT_EQ(path_of(target), path) << target;
}

TEST(HttpTarget, OfAPathLeadsBackToIt) {
  std::mt19937 random{kSeed};
  for (int round = 0; round < kMutants; ++round) {
    std::string path = mutant("dir/file name.html", "/.%?#\\ \r\n\"<>&", random);
    std::erase(path, '\0');
    path.erase(0, std::min(path.find_first_not_of('/'), path.size()));
    const std::string target = target_of(path);
    ASSERT_EQ(path_of(target), path);
    ASSERT_EQ(target.find_first_of("\r\n\"<>\\ "), std::string::npos) << target;
  }
}

TEST(HttpTarget, GivesARelativePathOrNoneWhateverIsAsked) {
  std::mt19937 random{kSeed};
  for (int round = 0; round < kMutants; ++round) {
    const auto path = path_of(mutant("http://host/a%20b/../%2e/c?d", "%/.?#:0123abcdef\\", random));
    if (!path) continue;
    ASSERT_FALSE(path->starts_with('/')) << *path;
    ASSERT_EQ(path->find('\0'), std::string::npos) << *path;
  }
}

constexpr std::string_view kRequest =
    "GET /a?b HTTP/1.1\r\nHost: x\r\nRange: bytes=1-2 \r\nIf-None-Match: \"a\"\r\nif-none-match: \"b\"\r\n"
    "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nRange: bytes=5-6\r\n\r\n";

TEST(HttpRequest, IsTheSameHoweverItIsCut) {
  for (std::size_t cut = 0; cut <= kRequest.size(); ++cut) {
    RequestParser parser;
    EXPECT_EQ(parser.state(), RequestParser::State::idle);
    EXPECT_EQ(parser.feed(kRequest.substr(0, cut)), cut);
    const std::string rest = std::string{kRequest.substr(cut)} + "GET /next";
    if (cut < kRequest.size()) {
      EXPECT_EQ(parser.feed(rest), kRequest.size() - cut);
    }
    ASSERT_EQ(parser.state(), RequestParser::State::complete);
    const Request request = parser.take();
    EXPECT_EQ(request.method, Method::get);
    EXPECT_TRUE(request.keep_alive);
    EXPECT_EQ(request.target, "/a?b");
    EXPECT_EQ(request.range, "bytes=1-2");  // not the Range header after the body
    EXPECT_EQ(request.if_none_match, "\"a\", \"b\"");
    EXPECT_EQ(parser.state(), RequestParser::State::idle);
  }
}

TEST(HttpRequest, EndsInOneOfItsStatesWhateverComes) {
  std::mt19937 random{kSeed};
  for (int round = 0; round < kMutants; ++round) {
    std::string input = mutant(std::string{kRequest} + std::string{kRequest}, "\r\n :/.,;=-0123456789aGETHPh", random);
    RequestParser parser;
    while (!input.empty()) {
      // A copy of exactly these bytes, so that a sanitizer notices a read beyond them.
      const std::vector<char> piece(input.begin(), input.begin() + 1 + static_cast<int>(random() % input.size()));
      const std::size_t used = parser.feed({piece.data(), piece.size()});
      ASSERT_LE(used, piece.size()) << input;
      if (parser.state() == RequestParser::State::refused) {
        ASSERT_GE(parser.refusal(), 400);
        ASSERT_FALSE(parser.take().keep_alive);
        break;
      }
      if (parser.state() == RequestParser::State::complete) {
        ASSERT_LE(parser.take().target.size(), RequestParser::kMostHeaderBytes);
      } else {
        ASSERT_EQ(used, piece.size());
      }
      input.erase(0, used);
    }
  }
}

}  // namespace
}  // namespace http
