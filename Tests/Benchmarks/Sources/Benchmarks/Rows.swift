import Clients

/// The rows, in groups that share their mounts.
struct Rows {
    let cdmfs: String
    let plainLoop: String
    let scratch: String
    let bytes: Int
    let requests: Int

    /// One group: what it mounts, and what is measured there. `body` gets the rows while the mounts are there.
    typealias Group = (_ body: ([Contest]) throws -> Void) throws -> Void

    var groups: [Group] { [mapped, requestsOnOneCPU, requestsUnpinned, moving, movingDirty, listing] }

    // MARK: Mappings, against tmpfs

    private func mapped(_ body: ([Contest]) throws -> Void) throws {
        let tmpfs = try Mount.tmpfs(at: scratch + "/tmpfs")
        defer { tmpfs.end() }
        let usual = try Mount.cdmfs(cdmfs, at: scratch + "/usual")
        defer { usual.end() }
        let wide = try Mount.cdmfs(cdmfs, at: scratch + "/wide", options: "fault_around=1M")
        defer { wide.end() }
        let peer = tmpfs.path + "/a"
        let buffer = usual.path + "/buffers/a"
        let wideBuffer = wide.path + "/buffers/a"
        try body([
            Contest(
                title: "mapped stores, resident", peer: "tmpfs", unit: .gigabytesPerSecond, aim: 0.95,
                measurePeer: { try store(peer) }, measureOurs: { try store(buffer) }),
            Contest(
                title: "first touch of a page, in sequence", peer: "tmpfs", unit: .microseconds, aim: 1.5,
                measurePeer: { try touch(peer) }, measureOurs: { try touch(buffer) }),
            Contest(
                title: "the same, `fault_around=1M`", peer: "tmpfs", unit: .microseconds, aim: 1.5,
                measurePeer: { try touch(peer) }, measureOurs: { try touch(wideBuffer) }),
        ])
    }

    private func store(_ path: String) throws -> Double {
        let passes = 16
        var seconds = 0.0
        try unsafe Failure.check(clients_store(path, bytes, passes, &seconds), path)
        return Double(bytes * passes) / seconds * 1e-9
    }

    private func touch(_ path: String) throws -> Double {
        var seconds = 0.0
        try unsafe Failure.check(clients_touch(path, bytes, &seconds), path)
        return seconds * 1e6 / Double(bytes / 4096)
    }

    // MARK: Requests, against the plain loop

    /// Client and server on one CPU: the cost of a request without the wake-up of another CPU.
    private func requestsOnOneCPU(_ body: ([Contest]) throws -> Void) throws {
        let cpu: Int32 = 0
        try withServers(cpu: cpu) { plain, ours in
            try Failure.check(clients_pin(cpu), "CPU \(cpu)")
            defer { clients_pin(-1) }
            let (file, buffer) = (plain + "/data", ours + "/buffers/data")
            let (attribute, policy) = (plain + "/attribute", ours + "/sys/kernel/cdm/buffers/data/policy")
            try body([
                Contest(
                    title: "4 KiB pread, uncached", peer: "plain C loop", unit: .microseconds, aim: 1.1,
                    measurePeer: { try read(file) }, measureOurs: { try read(buffer) }),
                Contest(
                    title: "read of an attribute", peer: "plain C loop", unit: .microseconds, aim: 1.5,
                    measurePeer: { try show(attribute) }, measureOurs: { try show(policy) }),
                Contest(
                    title: "write of an attribute", peer: "plain C loop", unit: .microseconds, aim: 1.5,
                    measurePeer: { try set(attribute) }, measureOurs: { try set(policy) }),
            ])
        }
    }

    /// As programs find it: every thread where the scheduler puts it.
    private func requestsUnpinned(_ body: ([Contest]) throws -> Void) throws {
        try withServers(cpu: nil) { plain, ours in
            try body([
                Contest(
                    title: "4 KiB pread, uncached, nothing pinned", peer: "plain C loop", unit: .microseconds, aim: nil,
                    measurePeer: { try read(plain + "/data") }, measureOurs: { try read(ours + "/buffers/data") })
            ])
        }
    }

    private func withServers(cpu: Int32?, _ body: (_ plain: String, _ ours: String) throws -> Void) throws {
        let plain = try Mount.plainLoop(plainLoop, at: scratch + "/plain", bytes: bytes, cpu: cpu)
        defer { plain.end() }
        let ours = try Mount.cdmfs(cdmfs, at: scratch + "/requests", cpu: cpu)
        defer { ours.end() }
        try unsafe Failure.check(clients_fill(ours.path + "/buffers/data", bytes), ours.path)
        try body(plain.path, ours.path)
    }

    private func read(_ path: String) throws -> Double {
        var seconds = 0.0
        try unsafe Failure.check(clients_read_direct(path, bytes, requests, &seconds), path)
        return seconds * 1e6 / Double(requests)
    }

    private func show(_ path: String) throws -> Double {
        var seconds = 0.0
        try unsafe Failure.check(clients_read_attribute(path, requests, &seconds), path)
        return seconds * 1e6 / Double(requests)
    }

    private func set(_ path: String) throws -> Double {
        var seconds = 0.0
        try unsafe Failure.check(clients_write_attribute(path, "default\n", requests, &seconds), path)
        return seconds * 1e6 / Double(requests)
    }
}
