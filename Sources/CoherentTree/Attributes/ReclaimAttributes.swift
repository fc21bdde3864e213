import AttributeTree
import CoherentMemory
import SystemPackage

/// nodeN/compact and nodeN/reclaim (mm/compaction.c, mm/vmscan.c).
enum ReclaimAttributes {
    static let table: [Attribute<Subject<CoherentMemory.Node>>] = [
        .writeOnly(
            "compact", summary: "Any write compacts the node's memory, so that huge pages become free.",
            start: { subject, _ throws(Errno) in
                let (machine, node) = (subject.machine, subject.part)
                return Job(.compact, from: [node.id], to: [node.id]) { cancellation, account throws(Errno) in
                    try machine.compact(node, account: account) { cancellation.isCancelled }
                }
            }),
        .writeOnly(
            "reclaim",
            summary:
                "SIZE [swappiness=0…200|max]: frees unused pages of zeros, demotes others if demotion_enabled; EAGAIN if less is reclaimed.",
            start: { subject, text throws(Errno) in
                let bytes = try amount(text)
                return Job(.reclaim, from: [subject.part.id]) { cancellation, account throws(Errno) in
                    let pages = Int(clamping: bytes / Page.size)
                    let freed = try reclaim(pages, subject, account) { cancellation.isCancelled }
                    if freed < pages {
                        throw text.refused(
                            .resourceTemporarilyUnavailable, "\(freed) of \(pages) pages could be reclaimed")
                    }
                }
            }),
    ]

    /// The size to reclaim (user_proactive_reclaim()). There is no swap: how willing to swap is checked only.
    private static func amount(_ text: AttributeText) throws(Errno) -> UInt64 {
        let words = text.words
        guard let size = words.first else { throw text.refused(.invalidArgument, "no SIZE is given") }
        for word in words.dropFirst() {
            let parts = word.text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard parts.count == 2, parts[0] == "swappiness" else {
                throw text.refused(.invalidArgument, "\(word.quoted) is not swappiness=VALUE")
            }
            if parts[1] == "max" { continue }
            guard let value = try? word.part(parts[1]).integer(), (0...200).contains(value) else {
                throw text.refused(.invalidArgument, "\(word.quoted): the value is not max or a number from 0 to 200")
            }
        }
        return try size.memorySize()
    }

    private static func reclaim(
        _ pages: Int, _ subject: Subject<CoherentMemory.Node>, _ account: MigrationAccount, isCancelled: () -> Bool
    ) throws(Errno) -> Int {
        let (machine, node) = (subject.machine, subject.part)
        let targets = machine.isDemotionEnabled ? machine.demotionTargets(of: node) : []
        return try machine.reclaim(
            pages, of: node, demotingTo: targets, account: account, isCancelled: isCancelled)
    }
}

extension AttributeText {
    /// A size in bytes with a suffix K, M, G, T, P or E of either case (memparse()).
    ///
    /// - Throws: EINVAL for what is no size, or does not fit in 64 bits.
    func memorySize() throws(Errno) -> UInt64 {
        let suffixes = "kmgtpe"
        let place = text.last.flatMap { last in suffixes.firstIndex { String($0) == last.lowercased() } }
        // In hexadecimal E is a digit.
        let isHex = text.lowercased().hasPrefix("0x") && text.last?.isHexDigit == true
        guard let place, !isHex else {
            guard let value = try? unsigned() else { throw isNoSize }
            return value
        }
        let shift = 10 * (suffixes.distance(from: suffixes.startIndex, to: place) + 1)
        guard let value = try? part(text.dropLast()).unsigned(), value <= UInt64.max >> shift else { throw isNoSize }
        return value << shift
    }

    private var isNoSize: Errno { refused(.invalidArgument, "\(quoted) is not a size of at most 64 bits") }
}
