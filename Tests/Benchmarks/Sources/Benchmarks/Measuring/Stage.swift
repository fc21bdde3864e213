import Foundation

/// Where contestants are mounted for a group, and what could not be.
final class Stage {
    let settings: Settings
    /// Why there are gaps, a line each.
    private(set) var notes: [String] = []
    /// Whether something of ours failed that is not just absent.
    private(set) var hasFailed = false
    private var absent: Set<Contestant> = []
    private var mounts = 0

    init(_ settings: Settings) { self.settings = settings }

    /// Mounts contestants for as long as `body` runs, those that can be. On one CPU if one is given.
    func withSites(
        _ contestants: [Contestant], topology: String? = nil, cpu: Int32? = nil, _ body: ([Site]) throws -> Void
    ) throws {
        var sites: [Site] = []
        defer { for site in sites.reversed() { site.mount.end() } }
        for contestant in contestants where !absent.contains(contestant) {
            do {
                sites.append(Site(contestant: contestant, mount: try mount(contestant, topology, cpu)))
            } catch let failure as Failure {
                absent.insert(contestant)
                note("\(contestant.name): ", failure)
            }
        }
        try body(sites)
    }

    /// Mounts one contestant, which has to be there.
    func withSite(_ contestant: Contestant, topology: String? = nil, _ body: (Site) throws -> Void) throws {
        try withSites([contestant], topology: topology) { sites in
            guard let site = sites.first else { throw Failure("no \(contestant.name)") }
            try body(site)
        }
    }

    /// Remembers that a contestant could not do something.
    func failed(_ contestant: Contestant, _ rows: [Row], _ failure: Failure) {
        // A peer that breaks off is a result; ours that does is a failure.
        if contestant.isOurs, !failure.isAbsence { hasFailed = true }
        note("\(contestant.name), \(rows[0].title): ", failure)
    }

    /// The reason without what was expected in its place, and paths as seen from where everything is mounted.
    private func note(_ what: String, _ failure: Failure) {
        let reason = failure.description.split(separator: ";").first ?? ""
        notes.append(what + reason.replacingOccurrences(of: settings.scratch + "/", with: ""))
    }

    /// Remembers that something is left out.
    func leaveOut(_ note: String) { notes.append(note) }

    /// A path below the scratch directory that nothing has yet.
    func newPath() -> String {
        mounts += 1
        return "\(settings.scratch)/\(mounts)"
    }

    /// A file with a topology for as long as `body` runs.
    func withTopology(_ text: String, _ body: (String) throws -> Void) throws {
        let file = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString + ".toml")
        try text.write(to: file, atomically: false, encoding: .utf8)
        defer { try? FileManager.default.removeItem(at: file) }
        try body(file.path)
    }

    private func mount(_ contestant: Contestant, _ topology: String?, _ cpu: Int32?) throws -> Mount {
        let path = newPath()
        func ours(_ options: String?) throws -> Mount {
            try Mount.cdmfs(settings.cdmfs, at: path, topology: topology, options: options, cpu: cpu)
        }
        func direct(_ options: String) throws -> Mount {
            let mount = try ours(options)
            do { try checkDirect(mount) } catch {
                mount.end()
                throw error
            }
            return mount
        }
        switch contestant {
        case .tmpfs: return try Mount.tmpfs(at: path)
        case .hugeTmpfs: return try Mount.tmpfs(at: path, huge: "always")
        case .tracked: return try ours(nil)
        case .recorded: return try Mount.recorded(settings.cdmfs, ours(nil))
        case .wide: return try ours("fault_around=1M")
        case .classic:
            // A cdmfs that knows no transports has this one.
            do { return try ours("transport=classic") } catch { return try ours(nil) }
        case .ring: return try ours("transport=io_uring")
        case .direct: return try direct("mapping=direct")
        case .hugeDirect: return try direct("mapping=direct,huge=always")
        case .memfs: return try Mount.example(peer("memfs_ll"), at: path, options: nil)
        case .memfsRing:
            try checkRing()
            return try Mount.example(peer("memfs_ll"), at: path, options: "io_uring")
        case .passthrough:
            let peer = try peer("passthrough_ll")
            let below = try Mount.tmpfs(at: newPath())
            do { return try Mount.example(peer, at: path, options: "source=\(below.path)", below: below) } catch {
                below.end()
                throw error
            }
        case .plainLoop:
            return try Mount.plainLoop(settings.plainLoop, at: path, bytes: settings.bytes, cpu: cpu)
        case .plainThreads:
            return try Mount.plainLoop(settings.plainLoop, at: path, bytes: settings.bytes, threads: true, cpu: cpu)
        default: throw Failure("is nothing that can be mounted")
        }
    }

    private func peer(_ name: String) throws -> String {
        guard let path = settings.peers.map({ $0 + "/" + name }), FileManager.default.isExecutableFile(atPath: path)
        else { throw Failure("not built (Tests/Benchmarks/peers builds it)") }
        return path
    }

    private func checkRing() throws {
        let parameter = "/sys/module/fuse/parameters/enable_uring"
        guard (try? String(contentsOfFile: parameter, encoding: .utf8))?.hasPrefix("Y") == true else {
            throw Failure("the kernel has no FUSE over io_uring, or \(parameter) is off")
        }
    }

    /// A mount that may not map directly would do without.
    private func checkDirect(_ mount: Mount) throws {
        let file = mount.path + "/buffers/mapping"
        guard FileManager.default.createFile(atPath: file, contents: nil) else { throw Failure("\(file): not made") }
        defer { try? FileManager.default.removeItem(atPath: file) }
        let mapping = try String(
            contentsOfFile: "\(mount.path)/sys/kernel/cdm/buffers/mapping/mapping", encoding: .utf8)
        guard mapping.contains("[direct]") else { throw Failure("mapped tracked all the same") }
    }
}
