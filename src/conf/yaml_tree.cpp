#include "conf/yaml_tree.h"

#include <fmt/format.h>
#include <yaml-cpp/anchor.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <map>
#include <sstream>
#include <unordered_map>

namespace pgdba::conf {

namespace {

using Kind = YamlNode::Kind;

// What stops a conversion; never leaves this file.
struct Problem {
  int line;
  std::string text;
};

// Builds the tree from yaml-cpp's events. Its own tree (YAML::Load) shares aliased nodes and its LoadAll does not end
// on
// "!: |\n  b\n! c\n? d\n"; here every limit holds while the text is being read.
class Builder : public YAML::EventHandler {
 public:
  Builder(std::string name, std::vector<std::string>& warnings)
      : source_(std::make_shared<const std::string>(std::move(name))), warnings_(warnings) {}

  YamlNode take() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override { add(stamped({}, mark), anchor, false); }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    add(stamped(scalar(tag, value, mark.line + 1), mark), anchor, tag == "?" || tag.empty());
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    auto found = anchors_.find(anchor);
    if (found == anchors_.end()) throw Problem{mark.line + 1, "an alias inside of what it stands for"};
    count_ += found->second.nodes - 1;
    add(found->second.node, YAML::NullAnchor, false);
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(Kind::list, mark, tag, "seq", anchor);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(Kind::map, mark, tag, "map", anchor);
  }
  void OnMapEnd() override { close(); }

 private:
  // A list or map that is being read.
  struct Frame {
    YamlNode node;
    YAML::anchor_t anchor = YAML::NullAnchor;
    int first = 0;  // count of values before it
    bool has_key = false;
    std::string key;
    bool merges = false;  // the key is a plain "<<"
    int key_line = 0;
    std::unordered_map<std::string, size_t> places;
    std::vector<YamlNode> merged;  // values of "<<", the earlier ones win
  };
  struct Anchored {
    YamlNode node;
    int nodes = 1;
  };

  YamlNode stamped(YamlNode node, const YAML::Mark& mark) const {
    node.source = source_;
    node.line = mark.line + 1;
    return node;
  }

  static YamlNode scalar(const std::string& tag, const std::string& value, int line) {
    if (tag.empty() || tag == "?") return resolve_scalar(value);
    YamlNode out;
    out.kind = Kind::text;
    out.text = value;
    if (tag == "!" || tag == "tag:yaml.org,2002:str") return out;
    for (auto [name, kind] :
         {std::pair{"int", Kind::integer}, {"bool", Kind::boolean}, {"float", Kind::number}, {"null", Kind::null}}) {
      if (tag != fmt::format("tag:yaml.org,2002:{}", name)) continue;
      YamlNode resolved = resolve_scalar(value);
      if (resolved.kind == kind) return resolved;
      throw Problem{line, fmt::format("tagged !!{}, but it is none", name)};
    }
    throw Problem{line, fmt::format("the tag {} is not known here", tag)};
  }

  void open(Kind kind, const YAML::Mark& mark, const std::string& tag, std::string_view plain, YAML::anchor_t anchor) {
    int line = mark.line + 1;
    if (!tag.empty() && tag != "?" && tag != "!" && tag != fmt::format("tag:yaml.org,2002:{}", plain)) {
      throw Problem{line, fmt::format("the tag {} is not known here", tag)};
    }
    if (static_cast<int>(open_.size()) >= kMaxYamlDepth)
      throw Problem{line, fmt::format("more than {} levels of nesting", kMaxYamlDepth)};
    if (wants_key()) throw Problem{line, "a key must be a plain word, not a list or a map"};
    Frame frame;
    frame.node = stamped({}, mark);
    frame.node.kind = kind;
    frame.anchor = anchor;
    frame.first = count_;
    open_.push_back(std::move(frame));
  }

  void close() {
    Frame frame = std::move(open_.back());
    open_.pop_back();
    for (YamlNode& base : frame.merged) {
      for (YamlNode::Item& item : base.map) {
        if (frame.places.emplace(item.first, 0).second) frame.node.map.push_back(std::move(item));
      }
    }
    if (frame.anchor != YAML::NullAnchor) anchors_[frame.anchor] = {frame.node, count_ - frame.first + 1};
    add(std::move(frame.node), YAML::NullAnchor, false);
  }

  [[nodiscard]] bool wants_key() const {
    return !open_.empty() && open_.back().node.kind == Kind::map && !open_.back().has_key;
  }

  void add(YamlNode node, YAML::anchor_t anchor, bool plain) {
    if (++count_ > kMaxYamlNodes) {
      throw Problem{node.line,
                    fmt::format("more than {} values (aliases count as often as they are used)", kMaxYamlNodes)};
    }
    if (anchor != YAML::NullAnchor) anchors_[anchor] = {node, 1};
    if (open_.empty()) {
      root_ = std::move(node);
    } else if (open_.back().node.kind == Kind::list) {
      open_.back().node.list.push_back(std::move(node));
    } else if (wants_key()) {
      if (!node.is_scalar()) throw Problem{node.line, "a key must be a plain word, not a list or a map"};
      Frame& frame = open_.back();
      frame.has_key = true;
      frame.key = node.is_null() ? "null" : node.text;
      frame.merges = plain && frame.key == "<<";
      frame.key_line = node.line;
    } else {
      put(open_.back(), std::move(node));
    }
  }

  void put(Frame& frame, YamlNode value) {
    frame.has_key = false;
    if (frame.merges) {
      collect_merge(frame, std::move(value));
      return;
    }
    auto [place, fresh] = frame.places.emplace(frame.key, frame.node.map.size());
    if (fresh) {
      frame.node.map.push_back({frame.key, std::move(value)});
      return;
    }
    warnings_.push_back(
        fmt::format("{}:{}: \"{}\" is given twice; the later one counts", *source_, frame.key_line, frame.key));
    frame.node.map[place->second].second = std::move(value);
  }

  static void collect_merge(Frame& frame, YamlNode value) {
    bool good = value.kind == Kind::map || value.kind == Kind::list;
    if (value.kind == Kind::map) frame.merged.push_back(std::move(value));
    for (YamlNode& item : value.list) {
      good = good && item.kind == Kind::map;
      frame.merged.push_back(std::move(item));
    }
    if (!good) throw Problem{frame.key_line, "\"<<\" wants a map or a list of maps"};
  }

  std::shared_ptr<const std::string> source_;
  std::vector<std::string>& warnings_;
  std::vector<Frame> open_;
  std::map<YAML::anchor_t, Anchored> anchors_;
  YamlNode root_;
  int count_ = 0;
};

// yaml-cpp takes any byte; PyYAML refuses control characters and text that is not UTF-8, and so do we.
std::optional<Problem> bad_byte(std::string_view text) {
  int line = 1;
  for (size_t i = 0; i < text.size();) {
    auto c = static_cast<uint8_t>(text[i]);
    if (c == '\n') ++line;
    if ((c < 0x20 && c != '\n' && c != '\r' && c != '\t') || c == 0x7F) return Problem{line, "a control character"};
    size_t length = c < 0x80                 ? 1
                    : c >= 0xC2 && c <= 0xDF ? 2
                    : c >= 0xE0 && c <= 0xEF ? 3
                    : c >= 0xF0 && c <= 0xF4 ? 4
                                             : 0;
    bool good = length != 0 && i + length <= text.size();
    for (size_t k = 1; good && k < length; ++k) good = (static_cast<uint8_t>(text[i + k]) & 0xC0) == 0x80;
    if (!good) return Problem{line, "this is not UTF-8"};
    i += length;
  }
  return std::nullopt;
}

tl::unexpected<Error> failed(const std::string& name, int line, std::string_view what) {
  return fail(Errc::invalid, line > 0 ? fmt::format("{}:{}: {}", name, line, what) : fmt::format("{}: {}", name, what));
}

}  // namespace

const YamlNode* YamlNode::find(std::string_view name) const {
  auto found = std::ranges::find(map, name, &Item::first);
  return found == map.end() ? nullptr : &found->second;
}

YamlNode& YamlNode::at(std::string_view name) {
  if (kind != Kind::map) {
    kind = Kind::map;
    list.clear();
    text.clear();
  }
  auto found = std::ranges::find(map, name, &Item::first);
  if (found != map.end()) return found->second;
  map.push_back({std::string(name), {}});
  return map.back().second;
}

std::string YamlNode::where() const {
  if (!source || source->empty()) return "";
  return line > 0 ? fmt::format("{}:{}: ", *source, line) : fmt::format("{}: ", *source);
}

std::string describe(const YamlNode& node) {
  switch (node.kind) {
    case Kind::null: return "nothing";
    case Kind::boolean: return fmt::format("the boolean {}", node.text);
    case Kind::integer:
    case Kind::number: return fmt::format("the number {}", node.text);
    case Kind::text: return "a text";
    case Kind::list: return "a list";
    case Kind::map: return "a map";
  }
  return "something else";
}

Result<YamlNode> parse_yaml(const YamlSource& source, std::vector<std::string>& warnings) {
  if (source.text.size() > kMaxYaml) return failed(source.name, 0, fmt::format("longer than {} bytes", kMaxYaml));
  if (auto bad = bad_byte(source.text)) return failed(source.name, bad->line, bad->text);
  try {
    std::istringstream text(source.text);
    YAML::Parser parser(text);
    Builder builder(source.name, warnings);
    if (!parser.HandleNextDocument(builder)) return YamlNode();
    // Also true, without an end, for text that belongs to no document; so it is asked once.
    Builder second(source.name, warnings);
    if (parser.HandleNextDocument(second)) {
      return failed(source.name, 0, "text after the end of the document, or more than one document (\"---\")");
    }
    return builder.take();
  } catch (const Problem& problem) {
    return failed(source.name, problem.line, problem.text);
  } catch (const YAML::Exception& error) {
    return failed(source.name, error.mark.is_null() ? 0 : error.mark.line + 1, error.msg);
  } catch (const std::exception& error) {
    return failed(source.name, 0, error.what());
  }
}

void write_json(JsonWriter& w, const YamlNode& node) {
  switch (node.kind) {
    case Kind::null: w.null(); break;
    case Kind::boolean: w.boolean(node.boolean); break;
    case Kind::integer: w.integer(node.integer); break;
    case Kind::number: w.number(node.number); break;
    case Kind::text: w.text(node.text); break;
    case Kind::list:
      w.begin_array();
      for (const YamlNode& item : node.list) write_json(w, item);
      w.end_array();
      break;
    case Kind::map:
      w.begin_object();
      for (const auto& [name, value] : node.map) write_json(w.key(name), value);
      w.end_object();
      break;
  }
}

std::string to_json(const YamlNode& node) {
  JsonWriter w;
  write_json(w, node);
  return w.take();
}

void merge(YamlNode& base, YamlNode over) {
  if (base.kind != Kind::map || over.kind != Kind::map) {
    base = std::move(over);
    return;
  }
  for (YamlNode::Item& item : over.map) {
    if (item.second.is_null()) {
      std::erase_if(base.map, [&](const YamlNode::Item& other) { return other.first == item.first; });
    } else if (base.find(item.first)) {
      merge(base.at(item.first), std::move(item.second));
    } else {
      base.at(item.first) = std::move(item.second);
    }
  }
}

Result<std::string> yaml_to_json(const YamlSource& source) {
  std::vector<std::string> warnings;
  auto node = parse_yaml(source, warnings);
  if (!node) return tl::unexpected(node.error());
  return to_json(*node);
}

}  // namespace pgdba::conf
