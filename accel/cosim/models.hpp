// What surrounds the accelerator: DRAM as an AXI4 slave, the host as an AXI4-Lite master, random stalls, and the
// protocol's referee. A broken rule is thrown as a Failure.

#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cinttypes>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <string>
#include <utility>

#include "binding.h"

namespace {

using u64 = uint64_t;

constexpr u64 BEAT_BYTES = DATA_BITS / 8;
constexpr u64 FULL_SIZE = DATA_BITS == 64 ? 3 : 2;
constexpr u64 INCR = 1, OKAY = 0, SLVERR = 2;
constexpr u64 PAGE_BYTES = 4096;  // no burst may cross a multiple of it (IHI 0022, A3.4.1)
constexpr size_t EARLY_BEATS = 16;  // write data taken ahead of its address
constexpr u64 ONE_BEAT = 1024;      // of bandwidth credit

struct Failure {
    const char* kind;  // "protocol", "hang" or "script"
    std::string text;
};

std::string text_of(const char* format, va_list args) {
    char buffer[512];
    vsnprintf(buffer, sizeof buffer, format, args);
    return buffer;
}

[[noreturn]] __attribute__((format(printf, 2, 3))) void fail(const char* kind, const char* format, ...) {
    va_list args;
    va_start(args, format);
    std::string text = text_of(format, args);
    va_end(args);
    throw Failure{kind, text};
}

struct Options {
    u64 dram_bytes = 1 << 24, base = 0, latency = 1, stall_percent = 0, seed = 0, rate = 2 * ONE_BEAT;
    u64 outstanding = 8, error_low = 0, error_high = 0, max_cycles = ~0ULL, register_cycles = 10000;
    std::string script, folder = ".";

    void set(const std::string& key, const std::string& value) {
        if (key == "script") {
            script = value;
        } else if (key == "folder") {
            folder = value;
        } else {
            number(key) = strtoull(value.c_str(), nullptr, 0);
        }
    }

    u64& number(const std::string& key) {
        const std::pair<const char*, u64*> known[] = {
            {"dram_bytes", &dram_bytes}, {"base", &base}, {"latency", &latency},
            {"stall_percent", &stall_percent}, {"seed", &seed}, {"rate", &rate},
            {"outstanding", &outstanding}, {"error_low", &error_low}, {"error_high", &error_high},
            {"max_cycles", &max_cycles}, {"register_cycles", &register_cycles}};
        for (auto& [name, place] : known) {
            if (key == name) return *place;
        }
        fail("script", "unknown argument '%s'", key.c_str());
    }
};

// Decides for one channel whether it stalls in a cycle; the same seed gives the same stalls.
class Stall {
public:
    Stall(const Options& options, u64 channel)
        : percent(options.stall_percent), state(options.seed * 16 + channel + 1) {}

    bool operator()() {  // splitmix64
        if (percent == 0) return false;
        u64 z = state += 0x9e3779b97f4a7c15ULL;
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
        z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
        return (z ^ z >> 31) % 100 < percent;
    }

private:
    u64 percent, state;
};

// Watches a channel that the design drives: what was offered stays until it is taken.
template <size_t N>
class Held {
public:
    explicit Held(const char* channel) : channel(channel) {}

    void check(bool valid, bool ready, std::array<u64, N> now) {
        if (waiting && !valid) fail("protocol", "%s: valid fell before ready came", channel);
        if (waiting && now != payload) {
            fail("protocol", "%s: payload changed while it waited for ready", channel);
        }
        waiting = valid && !ready;
        payload = now;
    }

private:
    const char* channel;
    bool waiting = false;
    std::array<u64, N> payload{};
};

// DRAM as bytes; pages that nobody touched take no memory.
class Memory {
public:
    explicit Memory(const Options& o) : base(o.base), size(o.dram_bytes) {
        void* at = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (at == MAP_FAILED) fail("script", "no room for a DRAM of %" PRIu64 " bytes", size);
        bytes = static_cast<unsigned char*>(at);
    }

    bool holds(u64 address, u64 count) const {
        return address >= base && count <= size && address - base <= size - count;
    }

    unsigned char* at(u64 address, u64 count) {
        if (!holds(address, count)) {
            fail("script", "bytes 0x%" PRIx64 "..0x%" PRIx64 " lie outside the DRAM 0x%" PRIx64 "..0x%" PRIx64,
                 address, address + count, base, base + size);
        }
        return bytes + (address - base);
    }

    u64 read(u64 address) {
        u64 beat = 0;
        memcpy(&beat, at(address, BEAT_BYTES), BEAT_BYTES);
        return beat;
    }

    void write(u64 address, u64 beat, u64 strobe) {
        unsigned char* to = at(address, BEAT_BYTES);
        for (u64 k = 0; k < BEAT_BYTES; ++k) {
            if (strobe >> k & 1) to[k] = static_cast<unsigned char>(beat >> 8 * k);
        }
    }

private:
    u64 base, size;
    unsigned char* bytes;
};

// The AXI4 slave: answers in order, `latency` cycles after the address (reads) or the last beat (writes).
class Dram {
public:
    Dram(const Options& options, Memory& memory) : o(options), memory(memory) {}

    void drive(DUT& dut, u64 cycle) {
        credit = std::min(credit + o.rate, 2 * ONE_BEAT);
        dut.m_axi_arready = reads.size() < o.outstanding && !ar_stall();
        bool due = !reads.empty() && cycle >= reads.front().due && credit >= ONE_BEAT;
        if (!r_valid && due && !r_stall()) {
            credit -= ONE_BEAT;
            r_valid = true;
            r_data = memory.read(reads.front().address);
        }
        dut.m_axi_rvalid = r_valid;
        dut.m_axi_rdata = r_valid ? r_data : 0;
        dut.m_axi_rlast = r_valid && reads.front().left == 1;
        dut.m_axi_rresp = r_valid && poisoned(reads.front().address) ? SLVERR : OKAY;
        dut.m_axi_awready = writes.size() < o.outstanding && !aw_stall();
        dut.m_axi_wready = beats.size() < EARLY_BEATS && credit >= ONE_BEAT && !w_stall();
        b_valid = b_valid || (!answers.empty() && cycle >= answers.front().due && !b_stall());
        dut.m_axi_bvalid = b_valid;
        dut.m_axi_bresp = b_valid && answers.front().bad ? SLVERR : OKAY;
    }

    void sample(DUT& dut, u64 cycle) {
        sample_reads(dut, cycle);
        sample_writes(dut);
        store(cycle);
        if (dut.m_axi_bvalid && dut.m_axi_bready) {
            b_valid = false;
            answers.pop_front();
        }
    }

    size_t open_reads() const { return reads.size(); }
    size_t open_writes() const { return writes.size() + answers.size(); }
    u64 read_beats = 0, write_beats = 0, last_beat_cycle = 0;

private:
    struct Burst {
        u64 address, left, due;
        bool bad;
    };
    struct Beat {
        u64 data, strobe;
        bool last;
    };

    void sample_reads(DUT& dut, u64 cycle) {
        ar.check(dut.m_axi_arvalid, dut.m_axi_arready,
                 {dut.m_axi_araddr, dut.m_axi_arlen, dut.m_axi_arsize, dut.m_axi_arburst});
        if (dut.m_axi_rvalid && dut.m_axi_rready) {
            r_valid = false;
            ++read_beats;
            last_beat_cycle = cycle;
            reads.front().address += BEAT_BYTES;
            if (--reads.front().left == 0) reads.pop_front();
        }
        if (dut.m_axi_arvalid && dut.m_axi_arready) {
            check_burst("read", dut.m_axi_araddr, dut.m_axi_arlen, dut.m_axi_arsize, dut.m_axi_arburst);
            reads.push_back({dut.m_axi_araddr, dut.m_axi_arlen + 1ULL, cycle + o.latency, false});
        }
    }

    void sample_writes(DUT& dut) {
        aw.check(dut.m_axi_awvalid, dut.m_axi_awready,
                 {dut.m_axi_awaddr, dut.m_axi_awlen, dut.m_axi_awsize, dut.m_axi_awburst});
        w.check(dut.m_axi_wvalid, dut.m_axi_wready, {dut.m_axi_wdata, dut.m_axi_wstrb, dut.m_axi_wlast});
        if (dut.m_axi_awvalid && dut.m_axi_awready) {
            check_burst("write", dut.m_axi_awaddr, dut.m_axi_awlen, dut.m_axi_awsize, dut.m_axi_awburst);
            writes.push_back({dut.m_axi_awaddr, dut.m_axi_awlen + 1ULL, 0, false});
        }
        if (dut.m_axi_wvalid && dut.m_axi_wready) {
            credit -= std::min(credit, ONE_BEAT);
            beats.push_back({dut.m_axi_wdata, dut.m_axi_wstrb, bool(dut.m_axi_wlast)});
        }
    }

    // Brings the beats that came together with the bursts they belong to.
    void store(u64 cycle) {
        while (!beats.empty() && !writes.empty()) {
            Burst& burst = writes.front();
            const Beat beat = beats.front();
            beats.pop_front();
            if (beat.last != (burst.left == 1)) {
                fail("protocol", "w: wlast is %d at 0x%" PRIx64 " with %" PRIu64 " beats of its burst to come",
                     beat.last, burst.address, burst.left - 1);
            }
            memory.write(burst.address, beat.data, beat.strobe);
            burst.bad = burst.bad || poisoned(burst.address);
            burst.address += BEAT_BYTES;
            ++write_beats;
            last_beat_cycle = cycle;
            if (--burst.left == 0) {
                answers.push_back({burst.address, 0, cycle + o.latency, burst.bad});
                writes.pop_front();
            }
        }
    }

    void check_burst(const char* what, u64 address, u64 len, u64 size, u64 burst) {
        const u64 count = (len + 1) * BEAT_BYTES;
        auto wrong = [&](const char* why) {
            fail("protocol", "%s burst of %" PRIu64 " beats at 0x%" PRIx64 ": %s", what, len + 1, address, why);
        };
        if (size != FULL_SIZE) wrong("size is not that of a whole beat");
        if (burst != INCR) wrong("burst type is not INCR");
        if (address % BEAT_BYTES) wrong("address is not a multiple of a beat");
        if (address / PAGE_BYTES != (address + count - 1) / PAGE_BYTES) wrong("crosses a boundary of 4 KiB");
        if (!memory.holds(address, count)) wrong("lies outside the DRAM");
    }

    bool poisoned(u64 address) const { return address + BEAT_BYTES > o.error_low && address < o.error_high; }

    const Options& o;
    Memory& memory;
    u64 credit = 0, r_data = 0;
    bool r_valid = false, b_valid = false;
    std::deque<Burst> reads, writes, answers;
    std::deque<Beat> beats;
    Stall ar_stall{o, 0}, r_stall{o, 1}, aw_stall{o, 2}, w_stall{o, 3}, b_stall{o, 4};
    Held<4> ar{"ar"}, aw{"aw"};
    Held<3> w{"w"};
};

// The AXI4-Lite master: one transaction at a time, its channels at random distances.
class Host {
public:
    explicit Host(const Options& options) : o(options) {}

    void start(bool is_write, u64 at, u64 word) {
        address = at;
        value = word;
        aw_left = w_left = b_left = is_write;
        ar_left = r_left = !is_write;
    }

    bool busy() const { return b_left || r_left; }

    void drive(DUT& dut) {
        aw_valid = aw_valid || (aw_left && !stalls[0]());
        w_valid = w_valid || (w_left && !stalls[1]());
        ar_valid = ar_valid || (ar_left && !stalls[2]());
        dut.s_axi_awvalid = aw_valid;
        dut.s_axi_awaddr = aw_valid ? address : 0;
        dut.s_axi_wvalid = w_valid;
        dut.s_axi_wdata = w_valid ? value : 0;
        dut.s_axi_wstrb = w_valid ? 15 : 0;
        dut.s_axi_arvalid = ar_valid;
        dut.s_axi_araddr = ar_valid ? address : 0;
        dut.s_axi_bready = b_left && !stalls[3]();
        dut.s_axi_rready = r_left && !stalls[4]();
    }

    void sample(DUT& dut) {
        b.check(dut.s_axi_bvalid, dut.s_axi_bready, {dut.s_axi_bresp});
        r.check(dut.s_axi_rvalid, dut.s_axi_rready, {dut.s_axi_rdata, dut.s_axi_rresp});
        if (dut.s_axi_bvalid && (!b_left || aw_left || w_left)) {
            fail("protocol", "s_axi b: an answer without a write");
        }
        if (dut.s_axi_rvalid && (!r_left || ar_left)) fail("protocol", "s_axi r: an answer without a read");
        if (dut.s_axi_bvalid && dut.s_axi_bready) {
            b_left = false;
            response = dut.s_axi_bresp;
        }
        if (dut.s_axi_rvalid && dut.s_axi_rready) {
            r_left = false;
            response = dut.s_axi_rresp;
            value = dut.s_axi_rdata;
        }
        take(aw_valid, aw_left, dut.s_axi_awready);
        take(w_valid, w_left, dut.s_axi_wready);
        take(ar_valid, ar_left, dut.s_axi_arready);
    }

    u64 value = 0, response = 0;

private:
    static void take(bool& valid, bool& left, bool ready) {
        if (valid && ready) valid = left = false;
    }

    const Options& o;
    u64 address = 0;
    bool aw_left = false, w_left = false, b_left = false, ar_left = false, r_left = false;
    bool aw_valid = false, w_valid = false, ar_valid = false;
    Stall stalls[5] = {{o, 8}, {o, 9}, {o, 10}, {o, 11}, {o, 12}};
    Held<1> b{"s_axi b"};
    Held<2> r{"s_axi r"};
};

}  // namespace
