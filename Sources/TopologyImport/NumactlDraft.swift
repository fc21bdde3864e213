import LinuxSupport
import MachineTopology
import SystemPackage

extension TopologyDraft {
    /// Reads the text of `numactl -H`: sizes in MB of 2²⁰ bytes, and the CPUs that each node has.
    ///
    /// - Throws: an ``ImportError`` with the line that is not of such a text.
    init(numactl text: String, _ source: String) throws(ImportError) {
        var nodes: [Node] = []
        var rows: [Int: [UInt64]] = [:]
        var columns: [Int] = []
        var isMatrix = false
        for (number, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            func wrong(_ expected: String) -> ImportError {
                ImportError(.data, "\(source):\(number + 1)", "unknown text; expected \(expected)")
            }
            let words = line.split(whereSeparator: \.isWhitespace)
            guard let first = words.first else { continue }
            if isMatrix {
                // "node   0   1", then "  0:  10  20".
                if first == "node" {
                    columns += words.dropFirst().compactMap { Int($0) }
                    continue
                }
                guard first.last == ":", let row = Int(first.dropLast()) else { throw wrong("a row of distances") }
                rows[row, default: []] += words.dropFirst().compactMap { UInt64($0) }
            } else if first == "available:" {
                continue
            } else if words.starts(with: ["node", "distances:"]) {
                isMatrix = true
            } else if first == "node", words.count >= 3, let id = Int(words[1]) {
                if nodes.last?.id != id {
                    guard nodes.count < IDSet.maxNodes else { throw wrong("at most \(IDSet.maxNodes) nodes") }
                    nodes.append(Node(id: id, memory: 0, cpus: []))
                }
                let place = nodes.count - 1
                switch words[2] {
                case "cpus:":
                    for word in words.dropFirst(3) {
                        guard let cpu = Int(word), (0..<IDSet.maxCPUs).contains(cpu) else {
                            throw wrong("a CPU number")
                        }
                        nodes[place].cpus.insert(cpu)
                    }
                case "size:":
                    guard words.count == 5, words[4] == "MB", let size = UInt64(words[3]), size < 1 << 40 else {
                        throw wrong("a size in MB")
                    }
                    nodes[place].memory = size << 20
                case "free:": break
                default: throw wrong("cpus:, size: or free:")
                }
            } else {
                throw wrong("a line of numactl -H")
            }
        }
        let ids = nodes.map(\.id)
        let isWhole = columns == ids && ids.allSatisfy { rows[$0]?.count == ids.count }
        self.init(
            origin: source, nodes: nodes, ownsCPUs: true, distances: isWhole ? ids.map { rows[$0]! } : [])
        if isMatrix, !isWhole { omissions.append("the distances, which are not whole") }
    }
}
