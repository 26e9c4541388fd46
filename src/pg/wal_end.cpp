#include "pg/wal_end.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <vector>

namespace pgdba::pg {

namespace {

constexpr uint64_t kPage = 8192;
constexpr uint64_t kShortHeader = 24;
constexpr uint64_t kLongHeader = 40;  // first page of a segment
constexpr uint64_t kRecordHeader = 24;
constexpr uint32_t kLargestRecord = 1020U * 1024 * 1024 + 65536;

constexpr uint16_t kFirstIsContrecord = 0x0001;
constexpr uint16_t kLongPage = 0x0002;
constexpr uint16_t kFirstIsOverwriteContrecord = 0x0008;

constexpr uint8_t kRmXlog = 0;
constexpr uint8_t kXlogSwitch = 0x40;
constexpr uint8_t kInfoMask = 0x0F;  // the low bits belong to the WAL machinery

template <class T>
T load(const unsigned char* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

// CRC-32C (Castagnoli), eight bytes at a time.
class Crc32c {
 public:
  Crc32c() {
    for (uint32_t i = 0; i < 256; ++i) {
      uint32_t value = i;
      for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ (value & 1 ? 0x82F63B78U : 0);
      table_[0][i] = value;
    }
    for (size_t k = 1; k < 8; ++k) {
      for (size_t i = 0; i < 256; ++i) table_[k][i] = (table_[k - 1][i] >> 8) ^ table_[0][table_[k - 1][i] & 0xFF];
    }
  }
  uint32_t update(uint32_t crc, const unsigned char* data, size_t length) const {
    for (; length >= 8; data += 8, length -= 8) {
      uint64_t word = load<uint64_t>(data) ^ crc;
      crc = 0;
      for (size_t k = 0; k < 8; ++k) crc ^= table_[7 - k][(word >> (8 * k)) & 0xFF];
    }
    for (; length > 0; ++data, --length) crc = (crc >> 8) ^ table_[0][(crc ^ *data) & 0xFF];
    return crc;
  }

 private:
  std::array<std::array<uint32_t, 256>, 8> table_{};
};

// One timeline's segments, read through a small window. (Not mapped: a block that cannot be read would be a signal.)
class Segments {
 public:
  Segments(const Layout& layout, uint64_t size) : layout_(layout), size_(size), window_(kWindow) {}
  ~Segments() { close(); }
  Segments(const Segments&) = delete;
  Segments& operator=(const Segments&) = delete;

  void use(uint32_t timeline) {
    close();
    timeline_ = timeline;
  }
  // A segment is there and cannot be read: where the WAL ends is not known then.
  const std::optional<Error>& error() const { return error_; }
  uint64_t size() const { return size_; }

  // The page that holds `at`, if its header says that it is that page of that timeline or of an ancestor. Valid until the
  // next call.
  const unsigned char* page(uint64_t at) {
    if ((file_ < 0 || at / size_ != number_) && !open(at / size_)) return nullptr;
    uint64_t address = at / kPage * kPage;
    if (address < begins_ || address + kPage > begins_ + holds_) {
      if (!read(address)) return nullptr;
    }
    const unsigned char* page = window_.data() + (address - begins_);
    // Recycled segments keep old pages: only the address tells them apart.
    if (load<uint64_t>(page + 8) != address) return nullptr;
    if ((load<uint16_t>(page) & 0xFF00) != 0xD100) return nullptr;  // XLOG_PAGE_MAGIC, D1xx for all versions we know
    uint16_t info = load<uint16_t>(page + 2);
    if ((info & kLongPage) != 0 && (address % size_ != 0 || load<uint32_t>(page + 32) != size_)) return nullptr;
    if (address % size_ == 0 && (info & kLongPage) == 0) return nullptr;
    if (load<uint32_t>(page + 4) > timeline_) return nullptr;
    return page;
  }

 private:
  static constexpr size_t kWindow = 128 * 1024;

  bool cannot() {
    error_ = Error{Errc::unavailable, fmt::format("cannot read {}: {}", path_, std::strerror(errno))};
    return false;
  }
  bool open(uint64_t number) {
    close();
    uint64_t per_id = (uint64_t{1} << 32) / size_;
    path_ = layout_.in_data(fmt::format("pg_wal/{:08X}{:08X}{:08X}", timeline_, number / per_id, number % per_id));
    file_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC);
    if (file_ < 0) return errno == ENOENT ? false : cannot();
    number_ = number;
    struct stat info {};
    if (::fstat(file_, &info) != 0) return cannot();
    if (static_cast<uint64_t>(info.st_size) == size_) return true;
    close();
    return false;
  }
  bool read(uint64_t address) {
    begins_ = address;
    holds_ = 0;
    while (holds_ < kPage) {
      ssize_t got = ::pread(file_, window_.data() + holds_, kWindow - holds_, static_cast<off_t>(address % size_ + holds_));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return cannot();
      if (got == 0) return false;
      holds_ += static_cast<uint64_t>(got);
    }
    return true;
  }
  void close() {
    if (file_ >= 0) ::close(file_);
    file_ = -1;
    holds_ = 0;
  }

  const Layout& layout_;
  uint64_t size_;
  uint32_t timeline_ = 0;
  std::string path_;
  int file_ = -1;
  uint64_t number_ = 0;
  std::vector<unsigned char> window_;
  uint64_t begins_ = 0;  // address of the window's first byte
  uint64_t holds_ = 0;
  std::optional<Error> error_;
};

class Walker {
 public:
  Walker(Segments& segments, uint64_t start) : segments_(segments), next_(start), end_(start) {}

  // Reads the record at the present end. False: there is no valid one.
  bool step() {
    uint64_t at = next_;
    if (at % kPage == 0) at += header_length(at);
    return read(at);
  }
  uint64_t end() const { return end_; }
  uint64_t records() const { return records_; }

 private:
  uint64_t header_length(uint64_t page_start) const {
    return page_start % segments_.size() == 0 ? kLongHeader : kShortHeader;
  }

  bool read(uint64_t start) {
    const unsigned char* page = segments_.page(start);
    if (page == nullptr) return false;
    uint64_t offset = start % kPage;
    if (offset < header_length(start - offset)) return false;
    // A record never begins inside another one's continuation.
    if (start - offset + header_length(start - offset) == start && (load<uint16_t>(page + 2) & kFirstIsContrecord) != 0)
      return false;
    uint32_t length = load<uint32_t>(page + offset);
    if (length < kRecordHeader || length > kLargestRecord) return false;

    record_.clear();
    uint64_t at = start;
    uint64_t left = length;
    for (;;) {
      uint64_t here = std::min(left, kPage - at % kPage);
      const unsigned char* from = page + at % kPage;
      record_.insert(record_.end(), from, from + here);
      at += here;
      left -= here;
      if (left == 0) break;
      page = segments_.page(at);
      if (page == nullptr) return false;
      uint16_t info = load<uint16_t>(page + 2);
      if ((info & kFirstIsOverwriteContrecord) != 0) {
        // The rest of this record was lost in a crash long ago, and the server went on from here.
        return read(at + header_length(at));
      }
      if ((info & kFirstIsContrecord) == 0 || load<uint32_t>(page + 16) != left) return false;
      at += header_length(at);
    }
    if (last_ && load<uint64_t>(record_.data() + 8) != *last_) return false;
    if (!last_ && load<uint64_t>(record_.data() + 8) >= start) return false;
    uint32_t crc = crc_.update(0xFFFFFFFFU, record_.data() + kRecordHeader, length - kRecordHeader);
    crc = crc_.update(crc, record_.data(), 20) ^ 0xFFFFFFFFU;
    if (crc != load<uint32_t>(record_.data() + 20)) return false;

    last_ = start;
    ++records_;
    end_ = (at + 7) / 8 * 8;
    if (record_[17] == kRmXlog && (record_[16] & ~kInfoMask) == kXlogSwitch) {
      end_ = (end_ + segments_.size() - 1) / segments_.size() * segments_.size();
    }
    next_ = end_;
    return true;
  }

  Segments& segments_;
  uint64_t next_;
  uint64_t end_;
  uint64_t records_ = 0;
  std::optional<uint64_t> last_;
  std::vector<unsigned char> record_;
  Crc32c crc_;
};

}  // namespace

Result<WalEnd> find_wal_end(const Layout& layout, const ControlData& control, const std::vector<History>& histories,
                            const std::atomic<bool>& stop) {
  Segments segments(layout, control.segment_size);
  WalEnd out;
  out.timeline = control.file.timeline;
  segments.use(out.timeline);
  Walker walker(segments, control.redo.bytes);
  for (;;) {
    while (walker.step()) {
      if ((walker.records() & 0xFFF) == 0 && stop) return fail(Errc::cancelled, "reading WAL was cancelled");
    }
    if (stop) return fail(Errc::cancelled, "reading WAL was cancelled");
    // A timeline that begins exactly where ours ends, the youngest first; one that forks off earlier is past our fork
    // (R3).
    bool followed = false;
    for (auto history = histories.rbegin(); history != histories.rend() && !followed; ++history) {
      auto leaves = history->ends.find(out.timeline);
      if (history->timeline <= out.timeline || leaves == history->ends.end() || leaves->second.bytes != walker.end())
        continue;
      auto next = std::next(leaves);
      uint32_t timeline = next == history->ends.end() ? history->timeline : next->first;
      segments.use(timeline);
      followed = walker.step();
      if (followed) out.timeline = timeline;
    }
    if (!followed) break;
  }
  if (segments.error()) return tl::unexpected(*segments.error());
  if (walker.records() == 0)
    return fail(Errc::invalid, fmt::format("no valid WAL record at the redo point {}", format_lsn(control.redo)));
  out.lsn = Lsn{walker.end()};
  out.records = walker.records();
  return out;
}

}  // namespace pgdba::pg
