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

    /// Frames copied by one call: what stays in a processor's cache between reading and storing.
    private static let piece = 16

    /// Copies frames into others that are holes.
    ///
    /// By way of memory of our own, not through the mapping: frames that this process has mapped cost a fault when they are
    /// read, and an interrupt of every CPU that runs a thread of it when they are freed.
    func copy(_ count: Int, from source: Int, of arena: Arena, to target: Int) {
        unsafe withUnsafeTemporaryAllocation(
            byteCount: min(count, Self.piece) << Int(Page.shift), alignment: Int(Page.size)
        ) { room in
            var done = 0
            while done < count {
                let part = min(Self.piece, count - done)
                unsafe arena.read(part, from: source + done, into: room.baseAddress!)
                unsafe fill(
                    target + done, with: UnsafeRawBufferPointer(rebasing: room[..<(part << Int(Page.shift))]))
                done += part
            }
        }
    }

    private func read(_ count: Int, from first: Int, into room: UnsafeMutableRawPointer) {
        let size = count << Int(Page.shift)
        var done = 0
        while done < size {
            let length = unsafe pread(
                descriptor.rawValue, room + done, size - done, off_t(first << Int(Page.shift) + done))
            guard length > 0 else { break }
            done += length
        }
        if done < size { unsafe memcpy(room + done, address(of: first) + done, size - done) }
    }

    /// Stores bytes into frames, from a place in the first one on. Into frames that were stored to before it is faster than
    /// ``fill(_:with:)``.
    func store(_ bytes: UnsafeRawBufferPointer, to first: Int, at offset: Int) {
        guard let source = bytes.baseAddress else { return }
        let target = unsafe address(of: first)
        // A load has the host map the frames around, too; a store would have it map one after the other.
        unsafe clinux_load_pages(target, Page.count(of: UInt64(offset + bytes.count)))
        unsafe memcpy(target + offset, source, bytes.count)
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
