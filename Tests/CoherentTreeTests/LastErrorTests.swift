import AttributeTree
import CoherentMemory
import Glibc
import LinuxSupport
import SystemPackage
import Testing

@testable import CoherentTree

/// Why writes were refused: what stores note, and what is kept for whom.
@Suite("Last errors") struct LastErrorTests {
    private func task(_ id: Int32, start: UInt64 = 1) -> TaskIdentity { TaskIdentity(id: id, startTime: start) }

    @Test("A process has its own line, and one whose number is used again has none")
    func own() {
        let errors = LastErrors()
        errors.note("a", of: task(1), user: 0) { _ in true }
        errors.note("b", of: task(2), user: 0) { _ in true }
        #expect(errors.text(of: task(1)) == "a\n" && errors.text(of: task(2)) == "b\n")
        #expect(errors.text(of: task(3)) == "" && errors.text(of: task(1, start: 2)) == "")
        errors.note("c", of: task(1), user: 0) { _ in true }
        #expect(errors.text(of: task(1)) == "c\n" && errors.count == 2)
        errors.note("d", of: task(2, start: 5), user: 0) { _ in true }
        #expect(errors.text(of: task(2)) == "" && errors.text(of: task(2, start: 5)) == "d\n" && errors.count == 2)
    }

    @Test("Lines of processes that have ended are dropped")
    func ended() {
        let errors = LastErrors()
        for id in 1...10 { errors.note("x", of: task(Int32(id)), user: 7) { _ in true } }
        for id in 11...15 { errors.note("x", of: task(Int32(id)), user: 7) { $0.id > 10 } }
        #expect(errors.count == 5)
    }

    @Test("A user has few lines, none of another user's, and few users have any")
    func bounds() {
        let errors = LastErrors()
        errors.note("mine", of: task(1), user: 1) { _ in true }
        for id in 1000..<2000 { errors.note("x", of: task(Int32(id)), user: 2) { _ in true } }
        #expect(errors.count == LastErrors.limitPerUser + 1)
        #expect(errors.text(of: task(1)) == "mine\n" && errors.text(of: task(1999)) == "x\n")
        for user in 3..<1000 { errors.note("x", of: task(Int32(5000 + user)), user: UInt32(user)) { _ in true } }
        #expect(errors.count == LastErrors.userLimit)
        #expect(errors.text(of: task(1)) == "")
    }

    @Test("The file shows a thread the line of its process")
    func file() throws {
        let scene = try Scene()
        let attribute = try scene.attribute("kernel/cdm/last_error")
        let own = try #require(scene.services.processes.process(of: getpid()))
        #expect(own.id == getpid())
        #expect(try attribute.show(for: Client(task: getpid(), user: 0)) == "")
        scene.services.lastErrors.note("x EINVAL: y.", of: own, user: 0) { _ in true }
        #expect(try attribute.show(for: Client(task: getpid(), user: 0)) == "x EINVAL: y.\n")
        let link = try #require(ProcFile.link("/proc/thread-self"))
        let thread = try #require(Int32(link.split(separator: "/").last ?? ""))
        #expect(try attribute.show(for: Client(task: thread, user: 0)) == "x EINVAL: y.\n")
        for task in [Int32(1), 0, -1] { #expect(try attribute.show(for: Client(task: task, user: 0)) == "") }
    }

    /// What is noted of a refusal, with the errno.
    private func refusal(_ scene: Scene, _ text: String, in path: String) throws -> String? {
        let reason = ErrorReason()
        do throws(Errno) {
            let attribute: BoundAttribute
            do { attribute = try scene.attribute(path) } catch { return "no \(path)" }
            switch try attribute.store(Array(text.utf8), by: Client(task: getpid(), user: 0), reason: reason) {
            case .done: return nil
            case .job(let job): try job.run(Cancellation())
            }
            return nil
        } catch {
            return "\(error.name): \(reason.clause(of: error) ?? "")"
        }
    }

    @Test(
        "Stores say what is wrong",
        arguments: [
            (
                "bind:9", "kernel/cdm/buffers/a/policy",
                "EINVAL: nodes that do not exist, or whose memory is not open to policies: 9"
            ),
            (
                "nonsense", "kernel/cdm/buffers/a/policy",
                "EINVAL: \"nonsense\" is not a memory policy, such as default, bind:0 or interleave:0-1"
            ),
            (
                "0 1 bind:1", "kernel/cdm/buffers/a/policy",
                "EINVAL: the range is empty, or OFFSET or LENGTH is not a multiple of 4096"
            ),
            ("7", "kernel/cdm/buffers/a/migrate", "ENODEV: there is no node 7"),
            ("0 1 0", "kernel/cdm/buffers/a/migrate", "EINVAL: OFFSET or LENGTH is not a multiple of 4096"),
            ("2", "kernel/cdm/buffers/a/pinned", "EINVAL: \"2\" is not one of 0, 1"),
            (
                "nonsense", "devices/system/node/node1/cdm/isolation",
                "EINVAL: \"nonsense\" is not one of none, exclusive, restricted, driver"
            ),
            ("flight 1", "devices/system/node/node1/cdm/capabilities", "EINVAL: \"flight\" is not a right"),
            ("0x123456789", "devices/system/memory/hard_offline_page", "ENXIO: no memory is online at this address"),
            ("0", "kernel/mm/mempolicy/weighted_interleave/node0", "EINVAL: \"0\" is not a number from 1 to 255"),
            ("fill a 0", "class/cdm/cdm0/queue/submit", "EINVAL: \"fill a 0\" lacks a word"),
            ("fill b 0 1 1", "class/cdm/cdm0/queue/submit", "ENOENT: there is no buffer \"b\""),
            ("1 a b", "kernel/cdm/migrate_pages", "EINVAL: \"a\" is not a list of nodes"),
            ("9", "kernel/cdm/numa_balancing", "EINVAL: \"9\" is not a number from 0 to 3"),
            ("cancel 99", "kernel/cdm/jobs", "ESRCH: no job with the number 99 runs"),
            ("1T", "devices/system/node/node0/reclaim", "EAGAIN: 8 of 268435456 pages could be reclaimed"),
        ])
    func stores(text: String, path: String, expected: String) throws {
        let scene = try Scene()
        try scene.makeBuffer("a", pages: 8)
        let said = try refusal(scene, text, in: path)
        #expect(said?.hasPrefix(expected) == true, "\(path) says \(said ?? "nothing")")
    }

    @Test("A block that has the state already says so")
    func block() throws {
        let scene = try Scene()
        let path = "devices/system/memory/memory\(try scene.block(ofNode: 0))/state"
        #expect(try refusal(scene, "online", in: path) == "EINVAL: the block is online already")
    }
}
