import Glibc

/// Why a measurement cannot be made, in one line.
struct Failure: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) { self.description = description }

    /// Throws what a function of `Clients` answered, unless it is 0.
    static func check(_ errno: Int32, _ what: String) throws(Failure) {
        guard errno != 0 else { return }
        throw Failure("\(what): \(unsafe String(cString: strerror(errno)))")
    }
}
