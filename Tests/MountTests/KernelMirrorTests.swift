import Foundation
import SystemPackage
import Testing

/// The sources of Linux's HMM tests: a kernel tree that LINUX_SOURCE names, or Debian's linux-source package.
private enum KernelSource {
    static let tests = "tools/testing/selftests/vm/hmm-tests.c"

    private static let candidates: [String] = {
        if let given = ProcessInfo.processInfo.environment["LINUX_SOURCE"] { return [given] }
        let names = (try? FileManager.default.contentsOfDirectory(atPath: "/usr/src")) ?? []
        return names.filter { $0.hasPrefix("linux-source-") }.sorted().map { "/usr/src/\($0)" }
    }()

    static let tree = candidates.first { FileManager.default.fileExists(atPath: "\($0)/\(tests)") }
    static let archive = candidates.first { $0.hasSuffix(".tar.xz") }
    static let isPresent = tree != nil || archive != nil

    /// The tree, unpacked if need be: what the tests are built from.
    static func unpack() throws -> String {
        if let tree { return tree }
        let folder = Host.products.appending("linux-source").string
        if !FileManager.default.fileExists(atPath: "\(folder)/\(tests)"), let archive {
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
            let files = ["lib/test_hmm_uapi.h", "mm/gup_test.h", tests, "tools/testing/selftests/kselftest*.h"]
            let unpacked = try run(
                ["tar", "-C", folder, "-xJf", archive, "--strip-components=1", "--wildcards"] + files.map { "*/\($0)" },
                within: 300)
            guard unpacked.succeeded else { throw Failure("\(archive): \(unpacked.errors)") }
        }
        return folder
    }

    /// The program, built unmodified.
    static func build() throws -> String {
        let tree = try unpack()
        let program = Host.products.appending("hmm-tests").string
        let built = try run(["cc", "-O1", "-w", "-pthread", "-I", tree, "-o", program, "\(tree)/\(tests)"])
        guard built.succeeded else { throw Failure("\(tests): \(built.errors)") }
        return program
    }
}

extension Mounts {
    /// Linux's own tests of heterogeneous memory management, unmodified.
    @Suite("Linux's HMM tests", .enabled(if: KernelSource.isPresent, "needs the package linux-source-6.1"))
    struct KernelMirrorTests {
        /// What cannot pass. The documentation, "The HMM test device", says why.
        private static let failures: Set<String> = []
        /// What leaves itself out where the host lacks what it asks for: huge pages, and the module gup_test.
        private static let optional = ["anon_write_hugetlbfs", "hmm_gup_test"]

        @Test("All pass, on private and coherent devices, but for those documented")
        func all() throws {
            let program = try KernelSource.build()
            try TestMount.with(seconds: 300) { mount in
                // A /dev of its own, that of nobody else.
                let script = """
                    mount -t tmpfs none /mnt && cp -a /dev/null /dev/zero /dev/urandom /mnt && mount --move /mnt /dev &&
                    for n in 0 1 2 3; do
                        touch /dev/hmm_dmirror$n && mount --bind "$1/dev/hmm_dmirror$n" /dev/hmm_dmirror$n || exit 99
                    done
                    exec "$2"
                    """
                let outcome = try run(
                    ["unshare", "--mount", "sh", "-c", script, "sh", mount.path, program], within: 280)
                let lines = outcome.output.split(separator: "\n").map(String.init)
                let passed = lines.filter { $0.hasPrefix("ok ") && !$0.contains("# SKIP") }.compactMap(Self.name)
                let failed = lines.filter { $0.hasPrefix("not ok ") }.compactMap(Self.name)
                let skipped = lines.count { $0.hasPrefix("ok ") && $0.contains("# SKIP") }
                let reasons = lines.filter { $0.contains("Expected") }.prefix(10).joined(separator: "\n")
                #expect(Set(failed) == Self.failures, "\(reasons)")
                #expect(skipped <= Self.optional.count * 2)
                // 26 tests of one device and 3 of two, each for private and coherent memory.
                #expect(passed.count + failed.count + skipped == 58, "\(outcome.errors)")
            }
        }

        private static func name(_ line: String) -> String? { line.split(separator: " ").last.map(String.init) }
    }
}
