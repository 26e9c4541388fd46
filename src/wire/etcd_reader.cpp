#include "wire/etcd_reader.h"

#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <charconv>

#include "base/base64.h"
#include "base/text.h"

namespace pgdba::wire::etcd {
namespace {

namespace json = boost::json;

const json::value& as_value(const void* value) { return *static_cast<const json::value*>(value); }

std::string_view view(const json::string& text) { return {text.data(), text.size()}; }

template <class T>
T whole_number(const json::value& value, bool& broken) {
  if (const auto* signed_value = value.if_int64(); signed_value != nullptr && std::in_range<T>(*signed_value)) {
    return static_cast<T>(*signed_value);
  }
  if (const auto* unsigned_value = value.if_uint64(); unsigned_value != nullptr && std::in_range<T>(*unsigned_value)) {
    return static_cast<T>(*unsigned_value);
  }
  if (const auto* text = value.if_string()) {
    T out = 0;
    auto [end, ec] = std::from_chars(text->data(), text->data() + text->size(), out);
    if (ec == std::errc() && end == text->data() + text->size()) return out;
  }
  broken = true;
  return 0;
}

}  // namespace

const void* Reader::find(std::string_view name) const {
  if (value_ == nullptr) return nullptr;
  const auto* object = as_value(value_).if_object();
  if (object == nullptr) {
    *broken_ = true;
    return nullptr;
  }
  const auto* found = object->if_contains(json::string_view(name.data(), name.size()));
  return found == nullptr || found->is_null() ? nullptr : found;
}

bool Reader::is_object() const { return value_ != nullptr && as_value(value_).is_object(); }

Reader Reader::child(std::string_view name) const { return {find(name), broken_}; }

int64_t Reader::i64(std::string_view name) const {
  const void* value = find(name);
  return value == nullptr ? 0 : whole_number<int64_t>(as_value(value), *broken_);
}

uint64_t Reader::u64(std::string_view name) const {
  const void* value = find(name);
  return value == nullptr ? 0 : whole_number<uint64_t>(as_value(value), *broken_);
}

bool Reader::boolean(std::string_view name) const {
  const void* value = find(name);
  if (value == nullptr) return false;
  if (const auto* flag = as_value(value).if_bool()) return *flag;
  *broken_ = true;
  return false;
}

std::string Reader::text(std::string_view name) const {
  const void* value = find(name);
  if (value == nullptr) return {};
  if (const auto* text = as_value(value).if_string()) return std::string(view(*text));
  *broken_ = true;
  return {};
}

std::string Reader::bytes(std::string_view name) const {
  auto decoded = base64_decode(text(name));
  if (decoded) return std::move(*decoded);
  *broken_ = true;
  return {};
}

std::vector<std::string> Reader::texts(std::string_view name) const {
  std::vector<std::string> out;
  const void* value = find(name);
  if (value == nullptr) return out;
  const auto* list = as_value(value).if_array();
  if (list == nullptr) {
    *broken_ = true;
    return out;
  }
  for (const auto& item : *list) {
    if (const auto* text = item.if_string()) {
      out.emplace_back(view(*text));
    } else {
      *broken_ = true;
    }
  }
  return out;
}

void Reader::each(std::string_view name, const std::function<void(const Reader&)>& visit) const {
  const void* value = find(name);
  if (value == nullptr) return;
  const auto* list = as_value(value).if_array();
  if (list == nullptr) {
    *broken_ = true;
    return;
  }
  for (const auto& item : *list) visit(Reader(&item, broken_));
}

struct Document::Impl {
  json::value value;
  bool broken = false;
};

Document::Document(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Document::Document(Document&&) noexcept = default;
Document::~Document() = default;
Reader Document::root() const { return {&impl_->value, &impl_->broken}; }

Result<Document> Document::parse(std::string_view text, size_t limit) {
  if (text.size() > limit) return fail(Errc::invalid, "etcd's answer is too long");
  auto impl = std::make_unique<Impl>();
  boost::system::error_code ec;
  json::parse_options options;
  options.max_depth = 32;
  try {
    impl->value = json::parse(json::string_view(text.data(), text.size()), ec, {}, options);
  } catch (const std::exception& problem) {
    return fail(Errc::invalid, std::string("not JSON: ") + problem.what());
  }
  if (ec) return fail(Errc::invalid, "not JSON: " + ec.message());
  if (!impl->value.is_object()) return fail(Errc::invalid, "not a JSON object");
  return Document(std::move(impl));
}

ErrorAnswer error_of(const Reader& object) {
  ErrorAnswer out;
  out.message = object.text("message");
  if (out.message.empty()) out.message = object.text("error");
  if (object.child("code").present()) {
    out.code = static_cast<int>(object.i64("code"));
  } else if (object.child("grpc_code").present()) {
    out.code = static_cast<int>(object.i64("grpc_code"));
  }
  return out;
}

}  // namespace pgdba::wire::etcd
