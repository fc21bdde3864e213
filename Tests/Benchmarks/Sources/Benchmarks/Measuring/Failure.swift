import Glibc

/// Why a measurement cannot be made, in one line.
struct Failure: Error, CustomStringConvertible {
    let description: String
    /// Whether what should be measured is not there, which no run can help.
    let isAbsence: Bool

    init(_ description: String, isAbsence: Bool = false) {
        self.description = description
        self.isAbsence = isAbsence
    }

    /// Throws what a function of `Clients` answered, unless it is 0.
    static func check(_ errno: Int32, _ what: String) throws(Failure) {
        guard errno != 0 else { return }
        throw Failure(
            "\(what): \(unsafe String(cString: strerror(errno)))", isAbsence: errno == ENOENT || errno == EOPNOTSUPP)
    }
}
