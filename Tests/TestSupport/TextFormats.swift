/// What the text of a sys/ file looks like, by the file's name. A torn text, half an old and half a new one, does not.
public struct TextFormats: @unchecked Sendable {
    // Unchecked: expressions are only matched, never changed.
    private static let list = #"(\d+(-\d+)?(,\d+(-\d+)?)*)?\n"#
    private static let number = #"\d+\n"#
    private static let counters = #"([a-z_]+ \d+\n)+"#
    private static let word = #"[a-z_]+\n"#

    private static let formats: [String: String] = [
        "possible": list, "has_cpu": list, "has_memory": list, "has_normal_memory": list, "has_private_memory": list,
        "has_generic_initiator": list,
        "is_cdm_node": list, "is_coherent_device": list, "online": list, "cpulist": list, "nodelist": list,
        "present": list, "offline": list,
        "cpumap": #"[0-9a-f]{1,8}(,[0-9a-f]{8})*\n"#,
        "distance": #"\d+( \d+)*\n"#,
        // Of a node, and of the machine.
        "meminfo": #"(Node \d+ [A-Za-z_()]+: +\d+( kB)?\n)+|([A-Za-z_()]+: +\d+( kB)?\n)+"#,
        "buddyinfo": #"(Node \d+, zone (  Normal| Movable) ( +\d+){11} \n)+"#,
        "pagetypeinfo":
            #"Page block order: 9\nPages per block:  512\n\n.*( +\d+){11} \n(Node .*\n)+\nNumber .*\n(Node .*\n)+"#,
        "numastat": counters, "vmstat": counters, "refused": counters, "capabilities": counters,
        // Of a buffer, and of the MMU of a device.
        "faults": counters + "|" + number,
        // Of a memory block, a device, and a link.
        "state": #"(online|offline|going-offline|(online|offline)_(in_progress|failed)|up|down)\n"#,
        "valid_zones": #"(none|(DMA|DMA32|Normal|Movable)( (Normal|Movable))*)\n"#,
        "phys_index": #"[0-9a-f]{8}\n"#, "block_size_bytes": #"[0-9a-f]+\n"#,
        "removable": number, "phys_device": number, "resident": number, "size": number, "numa_node": number,
        "kernel_max": number, "pid": number, "read_latency": number, "write_latency": number,
        "read_bandwidth": number, "write_bandwidth": number,
        "auto_online_blocks": word, "control": word, "runtime_status": word, "demotion_enabled": word,
        "isolation": #"(\[[a-z]+\]|[a-z]+)( (\[[a-z]+\]|[a-z]+))*\n"#,
        "policy": #"[a-z]+( [a-z()]+)*(=[a-z|]+)?(:[0-9,-]+)?\n"#,
        "placement": #"(N\d+=\d+( N\d+=\d+)*)?\n"#,
        "pages": #"(0x[0-9a-f]+ 0x[0-9a-f]+ \d+ 0x[0-9a-f]+ (-|[a-z,]+)\n)*"#,
        "migrate": #"state=[a-z]+ moved=\d+ failed=\d+ bytes=\d+ seconds=[0-9.]+\n"#,
    ]

    /// The formats of every file that has one.
    public init() {}

    private let compiled = formats.mapValues { try! Regex($0) }

    /// Whether a text is whole. One of a file that has no format here is lines of printable characters.
    public func isWhole(_ text: String, of name: some StringProtocol) -> Bool {
        if let format = compiled[String(name)] {
            guard (try? format.wholeMatch(in: text)) != nil else { return false }
            return name == "meminfo" && text.hasPrefix("Node") ? agrees(meminfo: text) : true
        }
        return (text.isEmpty || text.hasSuffix("\n"))
            && text.utf8.allSatisfy { $0 == UInt8(ascii: "\n") || (0x20..<0x7f).contains($0) }
    }

    /// One moment's figures add up.
    private func agrees(meminfo text: String) -> Bool {
        var figures: [Substring: Int] = [:]
        for line in text.split(separator: "\n") {
            let words = line.split(separator: " ")
            figures[words[2]] = Int(words[3])
        }
        guard let total = figures["MemTotal:"], let free = figures["MemFree:"], let used = figures["MemUsed:"] else {
            return false
        }
        return total == free + used && text.contains("HugePages_Surp:")
    }
}
