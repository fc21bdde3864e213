import Glibc
import SystemPackage

/// What befell a page of memory, for whoever is told of it.
public struct PageFailure: Sendable, Hashable {
    /// What it was.
    public enum Kind: String, Sendable, Hashable {
        /// What the page held is lost.
        case poison
        /// The page went to another frame, and its own is out of use.
        case offline
        /// The frame is in service again.
        case clear
        /// The device corrected errors of the page.
        case correctable
    }

    /// What it was.
    public var kind: Kind
    /// The physical address of the page.
    public var physicalAddress: UInt64
    /// The id of the node.
    public var node: Int
    /// The id of the buffer that had the page, nil where nobody had.
    public var buffer: Buffer.ID?
    /// Where the page is in the buffer, in bytes.
    public var offset: UInt64 = 0
    /// How many errors it is about.
    public var count: UInt64 = 1
}

/// Frames of one node that follow each other and are out of use for one reason.
public struct FailedRange: Sendable, Hashable {
    /// The physical address of the first byte.
    public var physicalAddress: UInt64
    /// Bytes.
    public var length: UInt64
    /// Why.
    public var reason: FailureReason
}

extension Errno {
    /// EHWPOISON: the page has failed before.
    public static var hardwarePoisoned: Errno { Errno(rawValue: EHWPOISON) }
}

extension PageFailure {
    init(kind: Kind, _ pfn: PFN, _ node: Node) {
        self.init(kind: kind, physicalAddress: pfn << Page.shift, node: node.id)
    }
}
