import MachineTopology
import SystemPackage

extension MemoryPolicy {
    /// Parses `MODE[=FLAG][:NODES]` (mpol_parse_str() and mpol_new() of mm/mempolicy.c).
    ///
    /// - Parameters:
    ///   - text: the text.
    ///   - available: the nodes that have memory; all named nodes must be among them, and interleaving without nodes
    ///     means all of them.
    /// - Throws: EINVAL for an unknown word, a bad list, a node without memory, or a list or flag that the mode does
    ///   not take.
    public init(parsing text: String, available: @autoclosure () -> IDSet) throws(Errno) {
        let (front, list) = Self.split(text, at: ":")
        let (word, flagWord) = Self.split(front, at: "=")
        guard let mode = Mode(rawValue: word) else { throw .invalidArgument }
        var nodes = IDSet()
        if let list {
            // One plain number, as Linux has it: neither `1-1` nor `N`.
            guard mode.traits.list != .one || list.utf8.allSatisfy((UInt8(ascii: "0")...UInt8(ascii: "9")).contains)
            else {
                throw .invalidArgument
            }
            guard let parsed = try? IDSet(list: list[...]), !parsed.isEmpty, parsed.isSubset(of: available()) else {
                throw .invalidArgument
            }
            nodes = parsed
        } else if mode.traits.list == .someOrAll {
            nodes = available()
        }
        var flag: NodeFlag?
        // What follows `default=` is not looked at.
        if let flagWord, mode != .default {
            flag = NodeFlag(rawValue: flagWord)
            if flag == nil { throw .invalidArgument }
        }
        switch mode.traits.list {
        case .none:
            guard list == nil, flag == nil else { throw .invalidArgument }
        case .one where list == nil:
            // Without a node, the preferred one is the local one.
            guard flag == nil else { throw .invalidArgument }
            self.init(mode: .local, nodes: nodes, flag: nil)
            return
        case .one, .some, .someOrAll:
            guard !nodes.isEmpty else { throw .invalidArgument }
        }
        self.init(mode: mode, nodes: nodes, flag: flag)
    }

    private static func split(_ text: String, at separator: Unicode.Scalar) -> (String, String?) {
        guard let place = text.unicodeScalars.firstIndex(of: separator) else { return (text, nil) }
        return (String(text[..<place]), String(text.unicodeScalars[text.unicodeScalars.index(after: place)...]))
    }
}

extension MemoryPolicy: CustomStringConvertible {
    /// The policy in the words of numa_maps: `default`, `bind:1`, `interleave=static:0-1` (mpol_to_str()).
    public var description: String {
        let flags = [flag?.rawValue, isBalanced ? "balancing" : nil].compactMap { $0 }.joined(separator: "|")
        return mode.rawValue + (flags.isEmpty ? "" : "=" + flags) + (nodes.isEmpty ? "" : ":\(nodes)")
    }
}
