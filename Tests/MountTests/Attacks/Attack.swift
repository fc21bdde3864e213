import Foundation
import SystemPackage
import Testing

/// One way in which a user may try to end the daemon, to fill it, or to be in everybody's way.
struct Attack: Sendable, CustomTestStringConvertible {
    /// What clients of the attacker do, as `hostile` names it, and how often.
    let name: String
    let count: Int
    var machine = Machines.small
    /// What the daemon may have more while the attack holds what it got, in kB.
    var kilobytes = 32 << 10
    /// How many descriptors and threads more.
    var descriptors = 64
    var threads = 32
    /// Whether the attack must have been refused something by then: this many of what it wants are nobody's due.
    var isRefused = false
    /// What root does while the attack holds what it got.
    var meanwhile: @Sendable (TestMount) throws -> Void = { _ in }

    var testDescription: String { name }
}

/// What a daemon takes of the host.
struct Footprint: CustomStringConvertible {
    /// Memory of its own, and that of the simulated machine; kB.
    let kilobytes, sharedKilobytes, descriptors, threads: Int

    init(of daemon: pid_t) throws {
        let status = try procfs("\(daemon)/status").split(separator: "\n")
        func figure(_ key: String) -> Int {
            let line = status.first { $0.hasPrefix(key + ":") }
            return line?.split(whereSeparator: \.isWhitespace).dropFirst().first.flatMap { Int($0) } ?? 0
        }
        kilobytes = figure("RssAnon")
        sharedKilobytes = figure("RssShmem")
        threads = figure("Threads")
        descriptors = try FileManager.default.contentsOfDirectory(atPath: "/proc/\(daemon)/fd").count
    }

    var description: String {
        "\(kilobytes) kB, \(sharedKilobytes) kB shared, \(descriptors) descriptors, \(threads) threads"
    }
}

/// A mount with a user who attacks it, one who has bytes there and minds, and root, who wants to be heard.
struct Battlefield {
    let mount: TestMount
    let daemon: pid_t
    let before: Footprint
    private let reader: Child
    private let controls: Child

    /// The two users.
    static let (attacker, bystander) = (61001, 61002)
    /// How long root's controls and the bystander's reads may take, in microseconds.
    static let patience = 1_000_000

    static func with(_ machine: String, _ body: (Battlefield) throws -> Void) throws {
        try TestMount.with(machine, options: ["allow_other", "dev_mode=666"], seconds: 100) { mount in
            try check(unsafe chmod(FilePath(mount.path).removingLastComponent().string, 0o711))
            let field = try Battlefield(mount)
            try body(field)
            try field.expectPeace()
        }
    }

    private init(_ mount: TestMount) throws {
        self.mount = mount
        daemon = try #require(mount.daemons().first)
        for (name, user) in [("hostile", Self.attacker), ("quiet", Self.bystander)] {
            let folder = mount.path + "/buffers/" + name
            try check(unsafe mkdir(folder, 0o700))
            try check(unsafe chown(folder, uid_t(user), gid_t(user)))
        }
        try mount.makeBuffer("root", size: 1 << 20)
        try mount.fill(mount.path + "/buffers/root", limit: 1 << 20)
        reader = try Self.start(.witness, ["reader", mount.path + "/buffers/quiet/file", 1 << 20], as: Self.bystander)
        controls = try Client.witness.start(
            "controls", mount.path + "/" + mount.control("root"),
            mount.path + "/sys/devices/system/node/node0/meminfo")
        #expect(try reader.line() == "ready")
        #expect(try controls.line() == "ready")
        // What the first use of everything leaves is no harm that an attack did.
        usleep(300_000)
        before = try Footprint(of: daemon)
    }

    /// Starts a client as one of the users.
    static func start(_ client: Client, _ arguments: [Any], as user: Int) throws -> Child {
        try Child(
            ["setpriv", "--reuid", "\(user)", "--regid", "\(user)", "--clear-groups", "--no-new-privs"]
                + client.command(arguments))
    }

    func start(_ attack: Attack) throws -> Child {
        try Self.start(.hostile, [attack.name, mount.path, attack.count], as: Self.attacker)
    }

    /// Expects that the daemon has taken no more for the attacker than it may.
    func expectBounded(_ attack: Attack) throws {
        let now = try Footprint(of: daemon)
        let grown = (
            now.kilobytes - before.kilobytes, now.descriptors - before.descriptors, now.threads - before.threads
        )
        #expect(grown.0 <= attack.kilobytes, "\(attack): \(now), before \(before)")
        #expect(grown.1 <= attack.descriptors, "\(attack): \(now), before \(before)")
        #expect(grown.2 <= attack.threads, "\(attack): \(now), before \(before)")
    }

    /// Expects that all is as before, once the attacker has gone and root has removed what he left; that nobody's bytes have
    /// changed; and that root and the bystander never had to wait.
    private func expectPeace() throws {
        let removal = try run(["rm", "-rf", mount.path + "/buffers/hostile"], within: 100)
        #expect(removal.succeeded, "\(removal.errors.prefix(400))")
        #expect(mount.daemons() == [daemon], "the daemon that began is there still")
        for (who, child) in [("the bystander", reader), ("root's controls", controls)] {
            child.kill(SIGTERM)
            let outcome = try child.finish()
            #expect(outcome.succeeded, "\(who): \(outcome.ending) \(outcome.errors)")
            #expect(outcome["worst_us"] ?? .max < Self.patience, "\(who): \(outcome.output)")
        }
        for name in ["quiet/file", "quiet"] {
            try FileManager.default.removeItem(atPath: mount.path + "/buffers/" + name)
        }
        var last = before
        // A sanitizer keeps freed memory for a while.
        let isRoomy = try Host.isSanitized(daemon)
        let isBack = try eventually(within: 15) {
            last = try Footprint(of: daemon)
            return (isRoomy || last.kilobytes <= before.kilobytes + (12 << 10))
                && last.sharedKilobytes <= before.sharedKilobytes + (16 << 10)
                && last.descriptors <= before.descriptors + 8 && last.threads <= before.threads + 8
        }
        #expect(isBack, "after the attack \(last), before \(before)")
    }
}

extension Host {
    /// Whether a process reserves the terabytes that a sanitizer needs.
    static func isSanitized(_ process: pid_t) throws -> Bool {
        let size = try procfs("\(process)/statm").split(separator: " ").first.flatMap { Int($0) } ?? 0
        return size > 1 << 28
    }
}
