import AttributeTree
import CoherentMemory
import CoherentTree
import Fuse
import LinuxSupport
import SystemPackage
import Testing

@testable import CoherentFS

/// Every refusal of a write has a reason that says something.
@Suite("Refusals") struct RefusalTests {
    @Test("A path leads to its page of the manual")
    func pages() throws {
        var count = 0
        for entry in try FileReference().entries where entry.kind == .attribute && !entry.errors.isEmpty {
            let page = Manual.page(of: entry.path.split(separator: "/").map(String.init))
            #expect(page?.errors.map(\.value) == entry.errors.map(\.reason), "\(entry.path)")
            count += 1
        }
        #expect(count > 50)
        let path = ["sys", "kernel", "cdm", "buffers", "node7", "b", "policy"]
        #expect(Manual.page(of: path)?.writes == Manual.page(ofControl: "policy")?.writes)
        #expect(Manual.page(ofControl: "policy") != nil)
        #expect(Manual.page(of: ["sys", "fs", "cgroup", "a", "b", "cpuset.mems"]) != nil)
        #expect(Manual.page(of: []) == nil && Manual.page(of: ["sys", "nonsense"]) == nil)
    }

    /// Stores a text in every control, and returns the sentences of what was refused.
    private func sentences(of text: String, _ scene: Scene) throws -> [(path: String, sentence: String)] {
        var said: [(String, String)] = []
        func visit(_ inode: Inode, _ path: [String]) throws {
            if case .attribute(let attribute)? = (inode as? TreeInode)?.item, attribute.isWritable {
                let reason = ErrorReason()
                do throws(Errno) {
                    _ = try attribute.store(Array(text.utf8), by: Client(task: 1, user: 0), reason: reason)
                } catch {
                    said.append(
                        (path.joined(separator: "/"), ControlWrite.sentence(error, reason, Manual.page(of: path))))
                }
            }
            guard inode.attributes.type == .directory else { return }
            for entry in try inode.entries() {
                if let child = try inode.child(entry.name)?.inode { try visit(child, path + [entry.name.string]) }
            }
        }
        try visit(try scene.inode("sys"), ["sys"])
        return said
    }

    @Test("No control refuses nonsense without a reason", arguments: ["\u{1}nonsense", "", "1 2 3 4 5", "-3"])
    func nonsense(text: String) throws {
        let scene = try Scene()
        try scene.makeFile("a")
        let said = try sentences(of: text, scene)
        #expect(said.count > 40)
        for (path, sentence) in said {
            #expect(sentence.utf8.count > 8 && !sentence.hasSuffix("."), "\(path): \(sentence)")
            // What every control might say is no reason.
            #expect(!sentence.hasPrefix("the text is malformed"), "\(path): \(sentence)")
            #expect(!sentence.contains("\n") && !sentence.contains("\u{1}"), "\(path): \(sentence)")
        }
    }

    @Test("Without a noted reason, the page's, and the format of what is malformed; else what the errno means")
    func fallbacks() {
        let page = Manual.page(ofControl: "migrate")
        let unnoted = ErrorReason()
        #expect(ControlWrite.sentence(.resourceBusy, unnoted, page) == "pages are pinned; the others have moved")
        #expect(
            ControlWrite.sentence(.invalidArgument, unnoted, page).hasPrefix(
                "malformed, or a bad range; expected: `[async]"))
        #expect(ControlWrite.sentence(.resourceBusy, unnoted, nil) == "it is in use, or another change is in progress")
        #expect(ControlWrite.sentence(.brokenPipe, unnoted, nil) == "broken pipe")
    }
}
