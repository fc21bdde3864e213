import Glibc
import LinuxSupport
import SystemPackage

/// The switch of the kernel's fuse module for all mounts of the host: without it no connection is offered io_uring.
///
/// It need be on only while a connection comes up, and is put back then by the last who needed it: each holds a shared lock on the file
/// meanwhile.
final class UringSwitch: Sendable {
    static let path: FilePath = "/sys/module/fuse/parameters/enable_uring"

    private struct State {
        var isHeld = true
    }

    private let file: FileDescriptor
    /// Whether it was off before.
    let wasTurnedOn: Bool
    private let state = Monitor(State())

    /// Turns it on.
    ///
    /// - Throws: ENOENT from a kernel without FUSE over io_uring; EACCES where it is off and this user may not turn it on.
    init() throws(Errno) {
        do {
            file = try .open(Self.path, .readOnly, options: .closeOnExec)
        } catch {
            throw error as? Errno ?? .ioError
        }
        flock(file.rawValue, LOCK_SH)
        do throws(Errno) {
            wasTurnedOn = try SmallFile.read(Self.path).first != UInt8(ascii: "Y")
            if wasTurnedOn { try SmallFile.write("Y", to: Self.path) }
        } catch {
            try? file.close()
            throw error
        }
    }

    deinit {
        release()
    }

    /// Puts it back, unless another process needs it. A second call does nothing.
    func release() {
        let wasHeld = state.withLock { state in
            defer { state.isHeld = false }
            return state.isHeld
        }
        guard wasHeld else { return }
        if wasTurnedOn, flock(file.rawValue, LOCK_EX | LOCK_NB) == 0 {
            do throws(Errno) { try SmallFile.write("N", to: Self.path) } catch {}
        }
        try? file.close()
    }
}
