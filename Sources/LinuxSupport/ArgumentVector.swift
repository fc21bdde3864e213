import Glibc

/// Calls `body` with words as C has them: an array of C strings that ends in a null pointer.
public func withArgumentVector<Result>(
    _ words: [String], _ body: (UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> Result
) -> Result {
    var vector = unsafe words.map { unsafe strdup($0) } + [nil]
    defer { unsafe vector.forEach { unsafe free($0) } }
    return unsafe vector.withUnsafeMutableBufferPointer { unsafe body($0.baseAddress!) }
}
