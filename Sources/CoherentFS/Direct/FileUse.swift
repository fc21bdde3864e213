import CoherentMemory
import CoherentTree
import Fuse
import Glibc
import LinuxSupport
import SystemPackage

/// Who uses a buffer or device file.
struct FileUse {
    /// Open files, until the kernel has released them.
    var opens = 0
    /// The threads that have opened the file: how many of those open files are left, and when the last was opened
    /// (``ProcTasks/now``).
    var openers: [Int32: (count: Int, last: UInt64)] = [:]
    /// Whether the file may not be opened, because how it is mapped is just changing.
    var isChanging = false
    /// The file that the kernel maps, while it is direct and was opened before.
    var registered: (backing: BackingFile, id: BackingID)?
    /// What the file takes of what is limited.
    var charges: Charges

    init(owner: UInt32) { charges = Charges(owner: owner) }
}

extension CachedFile {
    /// Counts an open file. EBUSY while it may not be opened.
    func open(by thread: Int32, at time: UInt64) throws(Errno) {
        try use.withLock { use throws(Errno) in
            guard !use.isChanging else { throw .resourceBusy }
            use.opens += 1
            use.openers[thread] = ((use.openers[thread]?.count ?? 0) + 1, time)
        }
    }

    /// Undoes ``open(by:at:)``.
    func close(by thread: Int32) {
        use.withLock { use in
            use.opens -= 1
            guard let opener = use.openers[thread] else { return }
            use.openers[thread] = opener.count > 1 ? (opener.count - 1, opener.last) : nil
        }
    }

    /// Refuses to open the file until ``endChange()``. EBUSY where a program has it open.
    ///
    /// The kernel releases a file some time after close(2) has returned: that is waited for, as no event tells of it
    /// where it does not come.
    func beginChange() throws(Errno) {
        for attempt in 0... {
            let isFree = use.withLock { use in
                guard use.opens == 0, !use.isChanging else { return false }
                use.isChanging = true
                return true
            }
            if isFree { return }
            guard attempt < 50 else { throw .resourceBusy }
            usleep(2000)
        }
    }

    func endChange() { use.withLock { $0.isChanging = false } }
}

extension Services {
    /// Changes how a buffer or device file is mapped.
    ///
    /// Waits for migrations: not for those who serve requests.
    ///
    /// - Throws: EBUSY where a program has it open or mapped, or may have and cannot be read; EOPNOTSUPP where there are no direct
    ///   mappings, or none of such a buffer; ENOSPC and EPERM where not every page can get its frame; EMFILE without
    ///   descriptors for it; EDQUOT and EMFILE where the owner, or all, have too many direct buffers.
    func setMapping(_ mode: MappingMode, of buffer: Buffer, by writer: Int32) throws(Errno) {
        guard mode != buffer.mapping else { return }
        guard mode == .tracked || direct.isAvailable else { throw .notSupported }
        guard let file = pageCache.file(of: buffer) else { throw .operationNotSupportedByDevice }
        try file.beginChange()
        defer { file.endChange() }
        switch mode {
        case .direct:
            let origin = tasks.origin(ofTask: writer)
            try file.use.withLock { use throws(Errno) in try accounts.beginDirect(&use.charges, by: writer) }
            do throws(Errno) {
                try machine.makeDirect(
                    buffer, in: try direct.makeFile(isHuge: buffer.hugeMode != .never), origin: origin)
            } catch {
                file.use.withLock { accounts.endDirect(&$0.charges) }
                throw error
            }
        case .tracked:
            // Such mappings outlive the files that they were made of.
            let isMapped = base.askProcesses().contains { answer in
                switch base.use(answer, of: buffer, where: { _ in true }) {
                case .none: false
                case .maps, .mayMap: true
                // A process that could not have opened it does not count.
                case .unknown: mayOpen(file, processes.user(of: answer.process.id))
                }
            }
            guard !isMapped else { throw .resourceBusy }
            try machine.makeTracked(buffer)
            direct.release(file)
            file.use.withLock { accounts.endDirect(&$0.charges) }
        }
    }

    /// Makes a new, empty buffer what new ones are to be. Where that fails it is tracked, which is said once.
    func adopt(_ file: BufferFile, by caller: Caller) {
        guard direct.isDefault else { return }
        do throws(Errno) {
            try file.cached.use.withLock { use throws(Errno) in
                try accounts.beginDirect(&use.charges, by: caller.pid)
            }
        } catch {
            direct.complain(error)
            return
        }
        do throws(Errno) {
            try direct.adopt(file.buffer, in: machine)
        } catch {
            file.cached.use.withLock { accounts.endDirect(&$0.charges) }
            direct.complain(error)
        }
    }

    /// Whether a user may have a file open, by its mode as it is now.
    private func mayOpen(_ file: CachedFile, _ user: UInt32) -> Bool {
        guard user != 0, let file = inodes[file.number] as? MemoryFile else { return true }
        return file.metadata.withLock { $0.uid == user || $0.permissions & 0o066 != 0 }
    }
}
