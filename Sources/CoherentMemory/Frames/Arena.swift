import CLinux
import Glibc
import SystemPackage

/// The bytes of a node: a sparse memfd of the node's size, mapped once.
///
/// A frame that is free, or was handed out and never stored to, is a hole in the file: it reads as zeros and costs
/// the host nothing.
@safe
final class Arena: @unchecked Sendable {
    // Sendable: the descriptor and the address never change; the bytes are guarded by the owners of the frames.
    private let descriptor: FileDescriptor
    private let base: UnsafeMutableRawPointer
    private let size: Int

    /// - Parameter hostNode: the node of the host to take the memory from, as far as that has any.
    init(name: String, size: UInt64, hostNode: Int? = nil) throws(Errno) {
        self.size = Int(size)
        let raw = unsafe memfd_create(name, UInt32(MFD_CLOEXEC))
        guard raw >= 0 else { throw Errno.last }
        descriptor = FileDescriptor(rawValue: raw)
        guard ftruncate(raw, off_t(size)) == 0,
            let address = unsafe mmap(
                nil, max(1, Int(size)), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, raw, 0),
            unsafe address != MAP_FAILED,
            unsafe hostNode == nil || clinux_prefer_node(address, max(4096, Int(size)), Int32(hostNode!)) == 0
        else {
            let error = Errno.last
            close(raw)
            throw error
        }
        // A child of the daemon (fusermount3) must not keep the node's memory alive.
        unsafe madvise(address, max(1, Int(size)), MADV_DONTFORK)
        unsafe base = address
    }

    deinit {
        unsafe munmap(base, max(1, size))
        close(descriptor.rawValue)
    }

    /// The address of a frame, by its index within the node.
    func address(of frame: Int) -> UnsafeMutableRawPointer {
        assert(frame << Int(Page.shift) < size)
        return unsafe base + frame << Int(Page.shift)
    }

    /// Stores bytes into frames that are holes, from the start of the first one on.
    ///
    /// By a call, not through the mapping: there each fresh frame costs a fault and is zeroed before it is filled.
    func fill(_ first: Int, with bytes: UnsafeRawBufferPointer) {
        var done = 0
        while done < bytes.count {
            let stored = unsafe pwrite(
                descriptor.rawValue, bytes.baseAddress! + done, bytes.count - done,
                off_t(first << Int(Page.shift) + done))
            guard stored > 0 else { break }
            done += stored
        }
        if done < bytes.count {
            unsafe memcpy(address(of: first) + done, bytes.baseAddress! + done, bytes.count - done)
        }
    }

    /// Makes the frames holes again: zeros to the next owner, and nothing to the host.
    func punch(_ frames: Range<Int>) {
        let result = fallocate(
            descriptor.rawValue, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
            off_t(frames.lowerBound << Int(Page.shift)), off_t(frames.count << Int(Page.shift)))
        if result != 0 {
            // No host refuses this for a memfd; zeros must not depend on it all the same.
            unsafe memset(address(of: frames.lowerBound), 0, frames.count << Int(Page.shift))
        }
    }
}
