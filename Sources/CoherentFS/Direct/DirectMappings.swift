import CoherentMemory
import Dispatch
import Fuse
import Glibc
import LinuxSupport
import Logging
import SystemPackage

/// What it takes to let the kernel map buffers itself: whether it can be had, and the files that the kernel was told of.
final class DirectMappings: Sendable {
    private struct State {
        var isAvailable = false
        var isDefault = false
        var hasComplained = false
        /// Files for buffers to come: to make one takes longer than all else about a buffer.
        var spares: [BackingFile] = []
        var isMakingSpares = false
    }

    private static let wantedSpares = 16
    /// Descriptors that are left for all else that the daemon does.
    private static let otherDescriptors: Int32 = 64

    private let notifier: Notifier
    private let logger: Logger
    private let state = Mutex(State())

    init(notifier: Notifier, logger: Logger) {
        self.notifier = notifier
        self.logger = logger
    }

    /// Finds out whether there can be direct mappings; once the mount answers.
    ///
    /// - Parameter isDefault: whether new buffers are to be direct. That they will not be is said.
    func prepare(isDefault: Bool) {
        do throws(Errno) {
            let file = try BackingFile(isHuge: false)
            try notifier.releaseBacking(try notifier.registerBacking(file.descriptor))
        } catch {
            if isDefault {
                logger.notice(
                    "mapping=direct is not available: \(error); new buffers are tracked; it needs CAP_SYS_ADMIN and Linux 6.9"
                )
            }
            return
        }
        state.withLock { state in
            state.isAvailable = true
            state.isDefault = isDefault
        }
    }

    /// Whether buffers can be made direct.
    var isAvailable: Bool { state.withLock { $0.isAvailable } }

    /// Whether new buffers are to be direct.
    var isDefault: Bool { state.withLock { $0.isDefault } }

    /// Makes a new, empty buffer direct.
    func adopt(_ buffer: Buffer, in machine: Machine) throws(Errno) {
        try machine.makeDirect(buffer, in: try takeFile(), origin: Origin(pid: 0, node: machine.nodes[0].id))
    }

    /// Says once that a new buffer is not what it was to be.
    func complain(_ error: Errno) {
        let isFirst = state.withLock { state in
            defer { state.hasComplained = true }
            return !state.hasComplained
        }
        if isFirst {
            logger.notice("a new buffer cannot be direct: \(error); it is tracked, and mapped stores to it are slower")
        }
    }

    /// A file for a new buffer; another thread makes the next ones meanwhile.
    private func takeFile() throws(Errno) -> BackingFile {
        let (spare, isToMake) = state.withLock { state -> (BackingFile?, Bool) in
            let spare = state.spares.popLast()
            let isToMake = !state.isMakingSpares && state.spares.count <= Self.wantedSpares / 2
            if isToMake { state.isMakingSpares = true }
            return (spare, isToMake)
        }
        if isToMake { DispatchQueue.global().start { [self] in makeSpares() } }
        if let spare { return spare }
        return try makeFile(isHuge: true)
    }

    /// A file for a buffer.
    ///
    /// - Throws: as `BackingFile(isHuge:)`; EMFILE also where too few descriptors would be left.
    func makeFile(isHuge: Bool) throws(Errno) -> BackingFile {
        let file = try BackingFile(isHuge: isHuge)
        var limit = rlimit()
        if unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 {
            let all = Int32(clamping: limit.rlim_cur)
            // Numbers are given from the lowest on.
            if file.descriptor.rawValue >= max(all - Self.otherDescriptors, all / 2) { throw .tooManyOpenFiles }
        }
        return file
    }

    private func makeSpares() {
        // Without a descriptor left there are no spares, either; the next buffer says so.
        while let file = try? makeFile(isHuge: true) {
            let isEnough = state.withLock { state in
                state.spares.append(file)
                return state.spares.count >= Self.wantedSpares
            }
            if isEnough { break }
        }
        state.withLock { $0.isMakingSpares = false }
    }

    /// What the kernel maps for a buffer that is just being opened; nil of a tracked one.
    func backing(of buffer: Buffer, _ file: CachedFile) throws(Errno) -> BackingID? {
        guard let backing = buffer.backing else { return nil }
        if let known = file.use.withLock({ $0.registered }), known.backing === backing { return known.id }
        let id = try notifier.registerBacking(backing.descriptor)
        // All opens must have the same: that of the first one.
        let (taken, unused) = file.use.withLock { use -> (BackingID, BackingID?) in
            if let known = use.registered, known.backing === backing { return (known.id, id) }
            defer { use.registered = (backing, id) }
            return (id, use.registered?.id)
        }
        if let unused { try? notifier.releaseBacking(unused) }
        return taken
    }

    /// Gives up what the kernel was told of a buffer. What is mapped stays mapped.
    func release(_ file: CachedFile) {
        let id = file.use.withLock { use in
            defer { use.registered = nil }
            return use.registered?.id
        }
        if let id { try? notifier.releaseBacking(id) }
    }
}
