import LinuxSupport
import MachineTopology

extension Machine {
    /// The line of a mapping in /proc/PID/numa_maps, without the newline (show_numa_map() of fs/proc/task_mmu.c). Pages of the pools of huge
    /// pages are counted as such (gather_hugetlb_stats()).
    ///
    /// - Parameters:
    ///   - mapping: the mapping, as /proc/PID/maps has it.
    ///   - parts: what is mapped, all of it in huge pages or none; empty for memory of the host, of which no pages are told.
    ///   - policy: the policy that its pages are placed by.
    public func numaMapsLine(
        of mapping: ProcMapping, parts: [(buffer: Buffer, bytes: Range<UInt64>)], policy: MemoryPolicy
    ) -> String {
        let isAnonymous = parts.first?.buffer.isAnonymous == true
        let isHuge = isAnonymous && parts.first?.buffer.hugeMode == .pool
        let address = String(mapping.addresses.lowerBound, radix: 16)
        var fields = [String(repeating: "0", count: max(0, 8 - address.utf8.count)) + address, "\(policy)"]
        switch mapping.path {
        case _ where isHuge: fields += ["file=\(Self.escaped("/anon_hugepage (deleted)"))", "huge"]
        case "[heap]": fields.append("heap")
        case "[stack]": fields.append("stack")
        case let path where mapping.inode != 0: fields.append("file=\(Self.escaped(path))")
        default: break
        }
        var (total, written) = (0, 0)
        var counts: [Int: Int] = [:]
        for part in parts {
            let pages = residentPages(of: part.buffer, bytes: part.bytes)
            (total, written) = (total + pages.total, written + pages.written)
            for (node, pages) in pages.nodes { counts[node, default: 0] += pages }
        }
        let frames = isHuge ? HugePage.frames : 1
        total /= frames
        guard total > 0 else { return fields.joined(separator: " ") }
        if isAnonymous, !mapping.isShared {
            fields += ["anon=\(total)", "dirty=\(total)"] + (isHuge ? [] : ["active=0"])
        } else {
            if isHuge { written = total }
            if written > 0 { fields.append("dirty=\(written)") }
            if written != total { fields.append("mapped=\(total)") }
        }
        fields += counts.sorted { $0.key < $1.key }.map { "N\($0.key)=\($0.value / frames)" }
        return (fields + ["kernelpagesize_kB=\(UInt64(frames) * Page.size >> 10)"]).joined(separator: " ")
    }

    /// What would end a field, in octal; a newline is in octal already.
    private static func escaped(_ path: String) -> String {
        path.unicodeScalars.map { $0 == " " ? "\\040" : $0 == "\t" ? "\\011" : $0 == "=" ? "\\075" : String($0) }
            .joined()
    }
}
