import Glibc
import SystemPackage

/// A failure of a page of memory, as reported to an observer.
public struct PageFailure: Sendable, Hashable {
    /// The kind of a failure.
    public enum Kind: String, Sendable, Hashable {
        /// The contents of the page are lost.
        case poison
        /// The page has moved to another frame, and its old frame is out of use.
        case offline
        /// The frame is in service again.
        case clear
        /// The device corrected errors of the page.
        case correctable
    }

    /// The kind of the failure.
    public var kind: Kind
    /// The physical address of the page.
    public var physicalAddress: UInt64
    /// The id of the node.
    public var node: Int
    /// The id of the buffer that had the page; nil if it was free.
    public var buffer: Buffer.ID?
    /// The offset of the page in the buffer, in bytes.
    public var offset: UInt64 = 0
    /// The number of errors.
    public var count: UInt64 = 1
    /// Whether the request was for a page of a buffer, and not for an address.
    var isByPage = false
}

/// Consecutive frames of one node that are out of use for the same reason.
public struct FailedRange: Sendable, Hashable {
    /// The physical address of the first byte.
    public var physicalAddress: UInt64
    /// The size in bytes.
    public var length: UInt64
    /// Why.
    public var reason: FailureReason
}

extension Errno {
    /// EHWPOISON: the page has failed before.
    static var hardwarePoisoned: Errno { Errno(rawValue: EHWPOISON) }
}

extension PageFailure {
    init(kind: Kind, _ pfn: PFN, _ node: Node) {
        self.init(kind: kind, physicalAddress: pfn << Page.shift, node: node.id)
    }
}
