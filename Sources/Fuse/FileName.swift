/// One name in a directory: UTF-8, compared byte for byte as Linux compares names.
///
/// A `String` compares the composed and the decomposed `é` as equal, but they are two files. A name that is not UTF-8
/// is refused before: the module answers `ENOENT` to its lookup and `EILSEQ` to a request that would make it.
public struct FileName: Hashable, Comparable, Sendable, ExpressibleByStringLiteral, CustomStringConvertible {
    /// The name as text.
    public let string: String

    /// A name with this text.
    public init(_ string: String) {
        var string = string
        string.makeContiguousUTF8()
        self.string = string
    }

    /// A name with this text.
    public init(stringLiteral value: String) {
        self.init(value)
    }

    /// The name in a C string; nil if it is not UTF-8.
    init?(cString: UnsafePointer<CChar>) {
        guard let string = unsafe String(validatingCString: cString) else { return nil }
        self.string = string
    }

    /// The name as text.
    public var description: String { string }

    /// Whether both names have the same bytes.
    public static func == (lhs: FileName, rhs: FileName) -> Bool {
        lhs.string.utf8.count == rhs.string.utf8.count && lhs.string.utf8.elementsEqual(rhs.string.utf8)
    }

    /// Orders by bytes, as `strcmp` does.
    public static func < (lhs: FileName, rhs: FileName) -> Bool {
        lhs.string.utf8.lexicographicallyPrecedes(rhs.string.utf8)
    }

    /// Hashes the bytes.
    public func hash(into hasher: inout Hasher) {
        let hashed: Void? = unsafe string.utf8.withContiguousStorageIfAvailable { bytes in
            unsafe hasher.combine(bytes: UnsafeRawBufferPointer(bytes))
        }
        if hashed == nil {
            for byte in string.utf8 { hasher.combine(byte) }
        }
    }
}
