import Foundation
import SystemPackage
import Testing

extension Mounts {
    /// The recipes of Sources/Examples that can be run here, as a project of its own would run them.
    @Suite("Recipes")
    struct RecipeTests {
        /// A copy of a recipe, with a directory beside it in which `cdmfs` is the command under test.
        private func withRecipe(
            _ name: String, _ body: (_ recipe: String, _ environment: [String: String]) throws -> Void
        ) throws {
            let directory = NSTemporaryDirectory() + "cdmfs-recipe-" + UUID().uuidString
            let manager = FileManager.default
            try manager.createDirectory(atPath: directory + "/bin", withIntermediateDirectories: true)
            defer { try? manager.removeItem(atPath: directory) }
            try manager.copyItem(
                atPath: Host.package.appending("Sources/Examples/\(name)").string, toPath: directory + "/" + name)
            try manager.createSymbolicLink(atPath: directory + "/bin/cdmfs", withDestinationPath: Host.cdmfs)
            let path = ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin"
            try body(directory + "/" + name, ["PATH": directory + "/bin:" + path])
        }

        private func mounts() throws -> [Substring] {
            try procfs("self/mountinfo").split(separator: "\n").filter { $0.contains("/cdmfs-recipe-") }
        }

        private static let hasPytest = (try? run(["/usr/bin/python3", "-c", "import pytest"]))?.succeeded ?? false

        @Test(
            "The pytest fixture mounts a machine for each test", .enabled(if: hasPytest, "needs python3-pytest"),
            arguments: ["default", "two-socket"])
        func pytest(_ machine: String) throws {
            try withRecipe("pytest") { recipe, environment in
                let outcome = try run(
                    [
                        "/usr/bin/python3", "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--basetemp",
                        recipe + "/tmp",
                        "--machine", machine, recipe,
                    ], within: 60, environment: environment)
                #expect(outcome.succeeded && outcome.output.contains("3 passed"), "\(outcome.output)\(outcome.errors)")
                #expect(try mounts() == [])
            }
        }

        @Test(
            "The CTest example runs tests on machines of their own and on one that they share",
            .enabled(if: Host.has("cmake") && Host.has("make") && Host.has("cc"), "needs cmake, make and cc"))
        func ctest() throws {
            try withRecipe("ctest") { recipe, environment in
                let build = recipe + "/build"
                for command in [["cmake", "-S", recipe, "-B", build], ["cmake", "--build", build]] {
                    let outcome = try run(command, within: 60, environment: environment)
                    try #require(outcome.succeeded, "\(outcome.output)\(outcome.errors)")
                }
                let outcome = try run(
                    ["ctest", "--test-dir", build, "--output-on-failure"], within: 60, environment: environment)
                #expect(
                    outcome.succeeded && outcome.output.contains("0 tests failed out of 6"),
                    "\(outcome.output)\(outcome.errors)")
                #expect(try mounts() == [])
            }
        }
    }
}
