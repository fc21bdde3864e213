import Foundation
import Testing

/// The sources are in layers, and stay so.
@Suite("Layers")
struct LayerTests {
    /// The folders of CoherentMemory. A folder names only types of its own and of rows before it.
    private static let layers = [
        ["Support"], ["Frames"], ["Nodes"], ["Placement"], ["Tracing"], ["Pages"], ["Buffers"], ["Devices"],
        ["Migration"],
        ["Hotplug", "Failures", "Pressure", "Engine"], ["Machine"],
    ]

    /// The order in which locks are taken, each by its file and declaration; `Machine` tells it, too. All others guard a value or
    /// two, and nothing is taken within them. Turns come first: who has one waits for the page cache, devices or links.
    private static let lockOrder = [
        ("Failures/Failures.swift", "let turn = FairSemaphore()"),
        ("Nodes/Node.swift", "let poolTurn = Mutex"),
        ("Buffers/Buffer.swift", "let migrationTurn = FairSemaphore()"),
        ("Devices/CopyEngine.swift", "let turns = FairSemaphore("),
        ("Buffers/Buffer.swift", "let unmapTurn = FairSemaphore()"),
        // Of two the buffer made first.
        ("Buffers/Buffer.swift", "let state: Mutex<State>"),
        ("Placement/TaskTable.swift", "let state = Mutex(State())"),
        ("Placement/ControlGroup.swift", "let state = Mutex(State())"),
        ("Devices/CommandQueue.swift", "let state = Mutex(State())"),
        ("Nodes/Node.swift", "let zone: Mutex<Zone>"),
        ("Pages/TablePool.swift", "let state: Mutex<State>"),
    ]

    /// What stands where it should not, until it does no more: `folder/file: type`.
    private static let exceptions: Set<String> = []

    /// Which modules of the package each one imports. Those of others are free, but for C libraries, which have one user each.
    private static let table: [String: Set<String>] = [
        "AttributeTree": ["LinuxSupport"],
        "Charts": [],
        "CoherentFS": [
            "AttributeTree", "CLinux", "CoherentMemory", "CoherentTree", "Fuse", "HMMTestDevice", "LinuxSupport",
            "MachineTopology", "Programs",
        ],
        "CoherentMemory": ["CLinux", "CZlib", "LinuxSupport", "MachineTopology"],
        "CoherentTree": [
            "AttributeTree", "CLinux", "CoherentMemory", "LinuxSupport", "MachineTopology", "TraceFormat",
        ],
        "Examples": [],
        "Fuse": ["CFuse3", "CLinux", "CURing", "LinuxSupport"],
        "HMMTestDevice": ["AttributeTree", "CLinux", "CoherentMemory", "LinuxSupport"],
        "LinuxSupport": ["CLinux"],
        "MachineMonitor": ["CLinux", "CoherentMemory", "LinuxSupport", "TraceFormat"],
        "MachineTopology": ["CLinux", "LinuxSupport"],
        "Programs": ["CListener", "CoherentMemory", "LinuxSupport", "MachineTopology"],
        "TraceFormat": ["CZlib", "CoherentMemory"],
        "TraceReplay": ["CLinux", "CoherentMemory", "LinuxSupport", "MachineTopology", "TraceFormat"],
        "cdmfs": [
            "CLinux", "CListener", "CSeccomp", "CoherentFS", "CoherentMemory", "Fuse", "LinuxSupport",
            "MachineMonitor", "MachineTopology", "TopologyImport", "TraceFormat", "TraceReplay", "TraceReport",
        ],
        "TopologyImport": ["CHwloc", "LinuxSupport", "MachineTopology"],
        "TraceReport": ["Charts", "CoherentMemory", "LinuxSupport", "TraceFormat"],
    ]

    private struct Source {
        /// `folder/file`, within the module.
        let name: String
        let folder: String
        /// Without comments and string literals.
        let text: String
    }

    private static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appending(path: "Sources")

    private static func sources(of module: String) throws -> [Source] {
        let folder = root.appending(path: module)
        let files = FileManager.default.enumerator(at: folder, includingPropertiesForKeys: nil)
        let paths = (files?.compactMap { $0 as? URL } ?? []).filter { $0.pathExtension == "swift" }
        return try paths.map { url in
            let text = try String(contentsOf: url, encoding: .utf8)
            let parts = url.pathComponents.dropFirst(folder.pathComponents.count)
            return Source(
                name: parts.joined(separator: "/"), folder: parts.dropLast().first ?? "",
                text: text.replacing(/(?s)""".*?"""/, with: "").replacing(/"(?:[^"\\\n]|\\.)*"/, with: "")
                    .replacing(/\/\/[^\n]*/, with: ""))
        }
    }

    @Test("A folder of CoherentMemory names no type of a later layer")
    func layers() throws {
        let sources = try Self.sources(of: "CoherentMemory")
        var ranks: [String: Int] = [:]
        for (rank, row) in Self.layers.enumerated() { for folder in row { ranks[folder] = rank } }
        var homes: [String: String] = [:]
        for source in sources {
            #expect(ranks[source.folder] != nil, "\(source.name) is in no layer")
            let types = /(?m)^(?:@\w+ )*(?:(?:public|package|final) )*(?:struct|class|enum|protocol|typealias) (\w+)/
            for match in source.text.matches(of: types) { homes[String(match.1)] = source.folder }
        }
        var found = Set<String>()
        for source in sources {
            for match in source.text.matches(of: /(?:^|[^.\w])([A-Z]\w*)/) {
                guard let home = homes[String(match.1)], home != source.folder else { continue }
                if ranks[home, default: 0] >= ranks[source.folder, default: 0] {
                    found.insert("\(source.name): \(match.1)")
                }
            }
        }
        #expect(found.subtracting(Self.exceptions) == [], "types of later layers")
        #expect(Self.exceptions.subtracting(found) == [], "exceptions that are needed no more")
    }

    @Test("The locks of the order are there")
    func locks() throws {
        let sources = try Self.sources(of: "CoherentMemory")
        for (file, declaration) in Self.lockOrder {
            #expect(sources.contains { $0.name == file && $0.text.contains(declaration) }, "\(file): \(declaration)")
        }
    }

    @Test("A module imports what the table says", arguments: table.keys.sorted())
    func imports(of module: String) throws {
        let own = Set(try FileManager.default.contentsOfDirectory(atPath: Self.root.path(percentEncoded: false)))
        let imported = try Self.sources(of: module).flatMap { source in
            source.text.matches(
                of: /(?m)^(?:@\w+ )?(?:public |package |internal )?import (?:struct |class |enum |func )?(\w+)/
            )
            .map { String($0.1) }
        }
        #expect(own.intersection(imported) == Self.table[module])
    }

    @Test("The table has every module of Swift sources")
    func modules() throws {
        let own = try FileManager.default.contentsOfDirectory(atPath: Self.root.path(percentEncoded: false))
        #expect(try Set(own.filter { try !Self.sources(of: $0).isEmpty }) == Set(Self.table.keys))
    }
}
