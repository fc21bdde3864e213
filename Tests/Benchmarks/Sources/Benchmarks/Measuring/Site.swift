import Clients
import Foundation

/// A contestant that is mounted: where its files go.
struct Site {
    let contestant: Contestant
    let mount: Mount

    var path: String { mount.path }

    /// A file to make, read, write and map.
    func file(_ name: String) -> String { (contestant.isOurs ? path + "/buffers/" : path + "/") + name }

    /// A control file of a buffer; only of ours.
    func control(_ name: String, _ attribute: String) -> String {
        "\(path)/sys/kernel/cdm/buffers/\(name)/\(attribute)"
    }

    func remove(_ name: String) throws { try FileManager.default.removeItem(atPath: file(name)) }

    /// A new file, mapped for as long as `body` runs, which gets the seconds that making, sizing and mapping took, too.
    func withMapping<Result>(
        _ name: String, _ bytes: Int, _ body: (_ mapped: UnsafeMutableRawPointer, _ sizing: Double) throws -> Result
    ) throws -> Result {
        var mapped: UnsafeMutableRawPointer?
        let sizing = try timed(file(name)) { unsafe clients_map(file(name), bytes, &mapped, &$0) }
        guard let mapped = unsafe mapped else { throw Failure("\(file(name)): not mapped") }
        defer {
            unsafe clients_unmap(mapped, bytes)
            try? remove(name)
        }
        return try unsafe body(mapped, sizing)
    }

    /// A file full of 0x5a.
    func fill(_ name: String, _ bytes: Int) throws {
        try unsafe Failure.check(clients_fill(file(name), bytes), file(name))
    }
}

/// What a client says it took, in seconds, or its rate.
func timed(_ what: @autoclosure () -> String, _ client: (inout Double) -> Int32) throws -> Double {
    var seconds = 0.0
    try Failure.check(client(&seconds), what())
    return seconds
}

/// Writes an attribute once, and says in how many seconds.
@discardableResult
func command(_ file: String, _ text: String) throws -> Double {
    try timed(file) { unsafe clients_command(file, text, &$0) }
}
