import LinuxSupport
import MachineTopology

extension Machine {
    /// The line of a mapping in /proc/PID/numa_maps, without the newline (show_numa_map() of fs/proc/task_mmu.c).
    ///
    /// - Parameters:
    ///   - mapping: the mapping, as /proc/PID/maps has it.
    ///   - part: what is mapped; nil for memory of the host, of which no pages are told.
    ///   - taskPolicy: the policy of the task, which memory without one of its own has.
    public func numaMapsLine(
        of mapping: ProcMapping, part: (buffer: Buffer, bytes: Range<UInt64>)?, taskPolicy: MemoryPolicy
    ) -> String {
        var policy = taskPolicy
        if let part {
            let own = self.policy(of: part.buffer, at: part.bytes.lowerBound)
            if own != .default { policy = own }
        }
        let address = String(mapping.addresses.lowerBound, radix: 16)
        var fields = [String(repeating: "0", count: max(0, 8 - address.utf8.count)) + address, "\(policy)"]
        switch mapping.path {
        case "[heap]": fields.append("heap")
        case "[stack]": fields.append("stack")
        case let path where mapping.inode != 0: fields.append("file=\(Self.escaped(path))")
        default: break
        }
        guard let part else { return fields.joined(separator: " ") }
        let pages = residentPages(of: part.buffer, bytes: part.bytes)
        if pages.total > 0 {
            let isAnonymous = part.buffer.isAnonymous && !mapping.isShared
            if isAnonymous { fields += ["anon=\(pages.total)", "dirty=\(pages.total)", "active=0"] }
            if pages.written > 0 { fields.append("dirty=\(pages.written)") }
            if pages.written != pages.total, !isAnonymous { fields.append("mapped=\(pages.total)") }
            fields += pages.nodes.map { "N\($0.node)=\($0.pages)" } + ["kernelpagesize_kB=\(Page.size >> 10)"]
        }
        return fields.joined(separator: " ")
    }

    /// What would end a field, in octal; a newline is in octal already.
    private static func escaped(_ path: String) -> String {
        path.unicodeScalars.map { $0 == " " ? "\\040" : $0 == "\t" ? "\\011" : $0 == "=" ? "\\075" : String($0) }
            .joined()
    }
}
