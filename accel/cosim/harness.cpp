// Plays a command script on an accelerator that Verilator translated; models.hpp has what surrounds it.
//
// binding.h, written by build.py, names the design's class and its trace ports. Arguments are KEY=VALUE (struct Options);
// commands are described in script.py, results in run.py. Every result is one line of JSON on stdout. A violation or a
// hang is a line with "error" and exit status 3.
//
// A cycle: inputs are set with the clock low, outputs settle and are sampled, then the clock rises.

#ifdef __linux__
#include <signal.h>
#include <sys/prctl.h>
#endif

#include <chrono>
#include <type_traits>
#include <vector>

#include "binding.h"
#include "models.hpp"
#include "verilated.h"
#if WAVES_VCD
#include "verilated_vcd_c.h"
using WaveFile = VerilatedVcdC;
#elif WAVES_FST
#include "verilated_fst_c.h"
using WaveFile = VerilatedFstC;
#endif

namespace {

constexpr u64 RESET_CYCLES = 4;

std::string quoted(const std::string& text) {
    std::string out = "\"";
    for (char c : text) {
        if (c == '"' || c == '\\') out += '\\';
        out += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
    }
    return out + '"';
}

// One file per engine; a row for every cycle in which one of its event ports is not zero.
class Traces {
public:
    explicit Traces(const Options& o) : folder(o.folder) {}
    ~Traces() {
        for (FILE* file : files) {
            if (file) fclose(file);
        }
    }

    void log(DUT& dut, u64 cycle) {
        bool due[ENGINES + 1] = {};
#define EVENT(engine, port) due[engine] = due[engine] || any(dut.port);
        TRACE_EVENTS(EVENT)
        for (int engine = 0; engine < ENGINES; ++engine) {
            if (due[engine]) put(engine, &cycle, sizeof cycle);
        }
#define FIELD(engine, port, bytes) \
    if (due[engine]) put(engine, &dut.port, bytes);
        TRACE_FIELDS(FIELD)
    }

    bool on = false;

private:
    template <typename T>
    static bool any(const T& value) {
        if constexpr (std::is_integral_v<T>) {
            return value != 0;
        } else {
            static const T zero{};
            return memcmp(&value, &zero, sizeof value) != 0;
        }
    }

    void put(int engine, const void* data, size_t count) {
        FILE*& file = files[engine];
        if (!file) {
            file = fopen((folder + "/trace" + std::to_string(engine) + ".bin").c_str(), "wb");
            if (!file) fail("script", "cannot write traces into %s", folder.c_str());
            setvbuf(file, nullptr, _IOFBF, 1 << 20);
        }
        if (fwrite(data, 1, count, file) != count) fail("script", "the disk is full: traces are not complete");
    }

    std::string folder;
    FILE* files[ENGINES + 1] = {};
};

class Bench {
    const Options& o;
    VerilatedContext context;
    DUT dut{&context, "top"};
#if WAVES_VCD || WAVES_FST
    WaveFile* waves = nullptr;
#endif

public:
    explicit Bench(const Options& options) : o(options) {
#if WAVES_VCD || WAVES_FST
        context.traceEverOn(true);
#endif
        for (u64 k = 0; k < RESET_CYCLES; ++k) reset_cycle(k);
        dut.rst = 0;
    }

    ~Bench() {
        close_waves();
        dut.final();
    }

    u64 cycle = 0;
    Memory memory{o};
    Dram dram{o, memory};
    Host host{o};
    Traces traces{o};

    void step() {
        if (cycle >= o.max_cycles) fail("hang", "still at work after max_cycles; %s", state().c_str());
        dram.drive(dut, cycle);
        host.drive(dut);
        clock(0);
        dram.sample(dut, cycle);
        host.sample(dut);
        if (traces.on) traces.log(dut, cycle);
        clock(1);
        ++cycle;
    }

    // One AXI4-Lite transaction; its result stays in host.value and host.response.
    void transact(bool is_write, u64 address, u64 value) {
        host.start(is_write, address, value);
        for (const u64 begin = cycle; host.busy();) {
            if (cycle - begin >= o.register_cycles) {
                fail("hang", "register 0x%" PRIx64 ": no answer to a %s in %" PRIu64 " cycles; %s", address,
                     is_write ? "write" : "read", o.register_cycles, state().c_str());
            }
            step();
        }
    }

    std::string state() const {
        char text[200];
        snprintf(text, sizeof text,
                 "DRAM: %zu bursts to read, %zu to write, %" PRIu64 " and %" PRIu64
                 " beats done, the last in cycle %" PRIu64,
                 dram.open_reads(), dram.open_writes(), dram.read_beats, dram.write_beats, dram.last_beat_cycle);
        return text;
    }

    void open_waves(const std::string& file) {
        close_waves();
#if WAVES_VCD || WAVES_FST
        waves = new WaveFile;
        dut.trace(waves, 99);
        waves->open(file.c_str());
#else
        fail("script", "built without waves; cannot write %s", file.c_str());
#endif
    }

    void close_waves() {
#if WAVES_VCD || WAVES_FST
        if (waves) waves->close();
        delete waves;
        waves = nullptr;
#endif
    }

private:
    void reset_cycle(u64 k) {
        dut.rst = 1;
        clock(0);
        bool valid = dut.m_axi_arvalid || dut.m_axi_awvalid || dut.m_axi_wvalid || dut.s_axi_bvalid || dut.s_axi_rvalid;
        if (k > 0 && valid) fail("protocol", "a valid signal is high in reset");
        clock(1);
    }

    void clock(int level) {
        dut.clk = level;
        dut.eval();
#if WAVES_VCD || WAVES_FST
        if (waves) waves->dump(2 * cycle + level);
#endif
    }
};

// The words of one command, taken one by one.
class Words {
public:
    explicit Words(const std::string& line) {
        for (size_t at = 0; (at = line.find_first_not_of(" \t\r\n", at)) != std::string::npos;) {
            const size_t end = std::min(line.find_first_of(" \t\r\n", at), line.size());
            words.push_back(line.substr(at, end - at));
            at = end;
        }
    }

    bool empty() const { return next >= words.size(); }

    std::string text() {
        if (empty()) fail("script", "a word is missing after '%s'", words.back().c_str());
        return words[next++];
    }

    u64 number() {
        const std::string word = text();
        char* end = nullptr;
        const u64 value = strtoull(word.c_str(), &end, 0);
        if (*end) fail("script", "'%s' is no number", word.c_str());
        return value;
    }

private:
    std::vector<std::string> words;
    size_t next = 0;
};

class Player {
public:
    explicit Player(Bench& bench) : bench(bench) {}

    void play(Words words) {
        const std::string verb = words.text();
        if (verb == "write") {
            access(true, words);
        } else if (verb == "read") {
            access(false, words);
        } else if (verb == "poll") {
            poll(words);
        } else if (verb == "run") {
            for (u64 left = words.number(); left > 0; --left) bench.step();
            printf("{\"op\": \"run\", \"cycle\": %" PRIu64 "}\n", bench.cycle);
        } else if (verb == "load" || verb == "dump") {
            copy(verb == "load", words);
        } else if (verb == "trace") {
            bench.traces.on = words.text() == "on";
        } else if (verb == "waves") {
            const std::string file = words.text();
            file == "off" ? bench.close_waves() : bench.open_waves(file);
        } else {
            fail("script", "no command is named '%s'", verb.c_str());
        }
        if (!words.empty()) fail("script", "too many words after '%s'", verb.c_str());
        fflush(stdout);
    }

private:
    void access(bool is_write, Words& words) {
        const u64 address = words.number();
        bench.transact(is_write, address, is_write ? words.number() : 0);
        told(is_write ? "write" : "read", address);
    }

    void poll(Words& words) {
        const u64 address = words.number(), mask = words.number(), value = words.number(), most = words.number();
        const u64 begin = bench.cycle;
        do {
            bench.transact(false, address, 0);
            if ((bench.host.value & mask) == value) return told("poll", address);
        } while (bench.cycle - begin < most);
        fail("hang",
             "register 0x%" PRIx64 " reads 0x%" PRIx64 " after %" PRIu64 " cycles, where 0x%" PRIx64 " under mask 0x%" PRIx64
             " was awaited; %s",
             address, bench.host.value, bench.cycle - begin, value, mask, bench.state().c_str());
    }

    void told(const char* op, u64 address) {
        printf("{\"op\": \"%s\", \"address\": %" PRIu64 ", \"value\": %" PRIu64 ", \"response\": %" PRIu64
               ", \"cycle\": %" PRIu64 "}\n",
               op, address, bench.host.value, bench.host.response, bench.cycle);
    }

    void copy(bool into_dram, Words& words) {
        const std::string name = words.text();
        const u64 address = words.number();
        FILE* file = fopen(name.c_str(), into_dram ? "rb" : "wb");
        if (!file) fail("script", "cannot open %s", name.c_str());
        u64 count = 0;
        if (into_dram) {
            fseek(file, 0, SEEK_END);
            count = static_cast<u64>(ftell(file));
            rewind(file);
        } else {
            count = words.number();
        }
        unsigned char* bytes = bench.memory.at(address, count);
        const u64 done = into_dram ? fread(bytes, 1, count, file) : fwrite(bytes, 1, count, file);
        if (fclose(file) != 0 || done != count) fail("script", "%s was not copied whole", name.c_str());
        printf("{\"op\": \"%s\", \"address\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"cycle\": %" PRIu64 "}\n",
               into_dram ? "load" : "dump", address, count, bench.cycle);
    }

    Bench& bench;
};

void play_file(Bench& bench, FILE* script) {
    Player player(bench);
    int number = 0;
    for (char line[4096]; fgets(line, sizeof line, script);) {
        ++number;
        Words words(line);
        if (words.empty() || line[0] == '#') continue;
        try {
            player.play(words);
        } catch (Failure& failure) {
            failure.text = "command " + std::to_string(number) + ": " + failure.text;
            throw;
        }
    }
}

void run(const Options& options) {
    FILE* script = options.script.empty() ? stdin : fopen(options.script.c_str(), "r");
    if (!script) fail("script", "cannot open %s", options.script.c_str());
    Bench bench(options);
    const auto begin = std::chrono::steady_clock::now();
    try {
        play_file(bench, script);
    } catch (Failure& failure) {
        failure.text += " (cycle " + std::to_string(bench.cycle) + ")";
        throw;
    }
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    printf("{\"op\": \"end\", \"cycle\": %" PRIu64 ", \"read_beats\": %" PRIu64 ", \"write_beats\": %" PRIu64
           ", \"open_reads\": %zu, \"open_writes\": %zu, \"seconds\": %.6f}\n",
           bench.cycle, bench.dram.read_beats, bench.dram.write_beats, bench.dram.open_reads(),
           bench.dram.open_writes(), seconds);
}

}  // namespace

int main(int argc, char** argv) {
#ifdef __linux__
    prctl(PR_SET_PDEATHSIG, SIGKILL);  // no simulation outlives the Python process that started it
#endif
    try {
        Options options;
        for (int k = 1; k < argc; ++k) {
            const std::string word = argv[k];
            const size_t equals = word.find('=');
            if (equals == std::string::npos) fail("script", "'%s' is not KEY=VALUE", argv[k]);
            options.set(word.substr(0, equals), word.substr(equals + 1));
        }
        run(options);
    } catch (const Failure& failure) {
        printf("{\"error\": %s, \"kind\": %s}\n", quoted(failure.text).c_str(), quoted(failure.kind).c_str());
        fflush(stdout);
        return 3;
    }
    return 0;
}
