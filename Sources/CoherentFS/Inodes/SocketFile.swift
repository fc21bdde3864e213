import CoherentMemory
import Fuse
import LinuxSupport
import SystemPackage

/// A socket below buffers/: a name that bind(2) made and connect(2) finds. All else about it is the kernel's.
final class SocketFile: Inode, @unchecked Sendable {
    private let metadata: Mutex<Metadata>
    private let services: Services

    init(metadata: Metadata, services: Services) {
        self.metadata = Mutex(metadata)
        self.services = services
        super.init(number: services.inodes.makeNumber())
    }

    override var attributes: FileAttributes {
        var attributes = FileAttributes(inode: number, type: .socket, permissions: 0)
        metadata.withLock { $0.fill(&attributes) }
        return attributes
    }

    override func withMetadata<Result: Sendable>(
        _ body: (inout Metadata) throws(Errno) -> Result
    ) throws(Errno) -> Result {
        try metadata.withLock { metadata throws(Errno) in try body(&metadata) }
    }

    override func change(_ changes: AttributeChanges, caller: Caller, isOpen: Bool) throws(Errno) {
        guard changes.size == nil else { throw .invalidArgument }
        try metadata.withLock { metadata throws(Errno) in
            if let user = changes.uid { try charge?.transfer(to: user, by: caller.pid) }
            metadata.apply(changes)
        }
    }

    override func renamed() { metadata.withLock { $0.ctime = .now } }

    override func unlinked() {
        metadata.withLock { $0.unlinked() }
        if !services.inodes.knows(self) { forgotten() }
    }

    override var isLasting: Bool { metadata.withLock { $0.linkCount } > 0 }

    override func forgotten() {
        if !isLasting { _ = services.inodes.drop(self) }
    }
}
