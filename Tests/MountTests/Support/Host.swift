import CLinux
import Foundation
import SystemPackage

/// What the machine that runs the tests offers.
enum Host {
    static let isRoot = geteuid() == 0
    static let isContinuousIntegration = ProcessInfo.processInfo.environment["CI"] != nil
    static let hasFuse = unsafe access("/dev/fuse", R_OK | W_OK) == 0
    static let canMount = isRoot && hasFuse
    #if arch(x86_64)
        /// Whether memory of programs can be the machine's.
        static let watchesAddressSpaces = unsafe access("/dev/userfaultfd", R_OK | W_OK) == 0
    #else
        static let watchesAddressSpaces = false
    #endif

    /// The folder of the build: that of the test bundle.
    static let products = FilePath(resolving: "/proc/self/exe").removingLastComponent()

    /// The command under test; `CDMFS` in the environment names another one than the build's.
    static let cdmfs = ProcessInfo.processInfo.environment["CDMFS"] ?? products.appending("cdmfs").string

    /// How the mounts under test get their requests: `CDMFS_TEST_TRANSPORT`, or the classic way.
    static let transport = ProcessInfo.processInfo.environment["CDMFS_TEST_TRANSPORT"] ?? "classic"

    static let package = FilePath(#filePath).removingLastComponent().removingLastComponent()
        .removingLastComponent().removingLastComponent()

    static func has(_ program: String) -> Bool {
        let path = ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin"
        return path.split(separator: ":").contains { unsafe access("\($0)/\(program)", X_OK) == 0 }
    }
}

/// The whole text of a file of /proc, whose reads are short: Foundation takes the first of them for all.
func procfs(_ file: String) throws -> String {
    let descriptor = try FileDescriptor.open(FilePath("/proc/" + file), .readOnly)
    return try descriptor.closeAfter {
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65536)
        while true {
            let count = unsafe try chunk.withUnsafeMutableBytes { unsafe try descriptor.read(into: $0) }
            if count == 0 { return String(decoding: bytes, as: UTF8.self) }
            bytes += chunk[..<count]
        }
    }
}

extension FilePath {
    /// The target of a symbolic link.
    init(resolving link: String) {
        self.init((try? FileManager.default.destinationOfSymbolicLink(atPath: link)) ?? link)
    }
}

/// What a test cannot go on after, in one line.
struct Failure: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

/// The names of the commands, as the help lists them.
func commandNames() throws -> [String] {
    let help = try run([Host.cdmfs, "--help"]).output
    return help.matches(of: /(?m)^  ([a-z_]+)(, [a-z_]+)?  +\S/).map { String($0.1) }
}
