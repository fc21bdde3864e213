import Foundation
import SystemPackage
import Testing

@testable import CoherentFS

/// The reference says of every file what there is to say, and of nothing else.
@Suite("Reference") struct ReferenceTests {
    private let reference: FileReference

    init() throws { reference = try FileReference() }

    @Test("Every file, directory and link has its entry")
    func complete() {
        for entry in reference.entries {
            let place = FileReference.Entry.parent(of: entry.path)
            let add =
                "add to the page \"\(entry.name)\" of the chapter \"\(place)\" in Sources/CoherentFS/Reference/Chapters"
            switch entry.kind {
            case .attribute, .stream:
                #expect(!entry.summary.isEmpty, "\(entry.path) has no summary: add it where its table declares it")
                #expect(
                    entry.reads.isEmpty == !entry.permissions.contains(.ownerRead),
                    "\(entry.path): `reads`, the format and units, where it can be read: \(add)")
                #expect(
                    entry.writes.isEmpty == !entry.permissions.contains(.ownerWrite),
                    "\(entry.path): `writes`, what may be written, where it can be: \(add)")
                #expect(
                    entry.errors.isEmpty
                        == (!entry.permissions.contains(.ownerWrite) || entry.writes.hasPrefix("anything")),
                    "\(entry.path): `errors` of a write, each with its reason: \(add)")
            case .directory:
                #expect(
                    !entry.summary.isEmpty,
                    "\(entry.path) has no summary: add a chapter \"\(entry.path)\" in Sources/CoherentFS/Reference/Chapters"
                )
            case .link, .memory:
                #expect(!entry.summary.isEmpty, "\(entry.path): `summary`: \(add)")
            }
            #expect(
                !entry.linux.isEmpty,
                "\(entry.path) has no counterpart: `linux` of its page or of the chapter \"\(place)\"")
            #expect(entry.summary.hasSuffix("."), "\(entry.path): the summary is a sentence, with a full stop")
        }
    }

    @Test("Every chapter and every page is of something")
    func nothingElse() {
        for chapter in Manual.chapters {
            for place in chapter.places where !place.hasPrefix("*") {
                #expect(reference[place]?.kind == .directory, "no directory \"\(place)\" for the chapter")
            }
            let directories = reference.entries.filter { directory in
                directory.kind == .directory
                    && Manual.chapters(for: directory.path).contains { $0.places == chapter.places }
            }
            #expect(!directories.isEmpty, "no directory for the chapter \(chapter.places)")
            let names = Set(directories.flatMap { reference.children(of: $0.path).map(\.name) })
            for name in chapter.pages.keys {
                #expect(names.contains(name), "no file \"\(name)\" for the page in the chapter \(chapter.places)")
            }
        }
        let places = Manual.chapters.flatMap(\.places)
        #expect(Set(places).count == places.count, "two chapters of one place")
    }

    @Test("The page in the documentation is the one that the tables give")
    func page() throws {
        let package = FilePath(#filePath).removingLastComponent().removingLastComponent().removingLastComponent()
        let file = package.appending("Sources/CoherentFS/CoherentFS.docc/Reference.md")
        let page = try String(contentsOfFile: file.string, encoding: .utf8)
        // Not the texts themselves, which would be printed whole.
        let isCurrent = page == reference.markdown
        #expect(isCurrent, "run: cdmfs help --markdown > Sources/CoherentFS/CoherentFS.docc/Reference.md")
    }

    @Test(
        "Paths that mean one entry",
        arguments: [
            ("sys/devices/system/node/node1/distance", "sys/devices/system/node/nodeN/distance"),
            ("/sys/devices/system/node/node0/distance/", "sys/devices/system/node/nodeN/distance"),
            ("sys/devices/system/node/nodeN/distance", "sys/devices/system/node/nodeN/distance"),
            ("nodeN/meminfo", "sys/devices/system/node/nodeN/meminfo"),
            ("node17/meminfo", "sys/devices/system/node/nodeN/meminfo"),
            ("memory32/state", "sys/devices/system/memory/memoryM/state"),
            ("cdm3/state", "sys/class/cdm/cdmN/state"),
            ("/mnt/cdm/sys/class/cdm/cdm0/state", "sys/class/cdm/cdmN/state"),
            ("sys/class/../class/./cdm", "sys/class/cdm"),
            ("sys/bus/node/devices/node1/cdm/isolation", "sys/devices/system/node/nodeN/cdm/isolation"),
            ("sys/devices/system/node/node1/cdm/device/size", "sys/class/cdm/cdmN/size"),
            ("sys/kernel/cdm/buffers/weights/policy", "sys/kernel/cdm/buffers/NAME/policy"),
            ("sys/kernel/cdm/buffers/a/b/policy", "sys/kernel/cdm/buffers/NAME/policy"),
            ("buffers/NAME", "buffers/NAME"), ("dev/cdm0", "dev/cdmN"), ("dev", "dev"),
            ("isolation", "sys/devices/system/node/nodeN/cdm/isolation"),
            ("weighted_interleave/node0", "sys/kernel/mm/mempolicy/weighted_interleave/nodeN"), ("", ""), ("/", ""),
        ])
    func one(path: String, meaning: String) {
        #expect(reference.entries(for: path).map(\.path) == [meaning])
    }

    @Test("Names and paths that mean several")
    func several() {
        #expect(
            reference.entries(for: "migrate").map(\.path) == [
                "sys/class/cdm/cdmN/buffer/migrate", "sys/devices/system/node/nodeN/cdm/migrate",
                "sys/kernel/cdm/buffers/NAME/migrate",
            ])
        #expect(reference.entries(for: "buffers/a/b").map(\.path) == ["buffers/DIR", "buffers/NAME"])
        // What differs in its place alone is said once.
        let text = reference.text(of: reference.entries(for: "power/control"))
        #expect(text.split(separator: "\n").count { $0.contains("may be suspended") } == 1, "\(text)")
    }

    @Test(
        "Paths that mean nothing",
        arguments: [
            "nonsense", "sys/nonsense", "node1/nonsense", "nodeNN/distance", "node/distance", "etc/passwd", "x/y",
            "migrate/x", "NAMES",
        ])
    func none(path: String) { #expect(reference.entries(for: path).isEmpty) }

    @Test("No file has the name of a command", arguments: ["mount", "unmount", "umount", "topology", "run", "help"])
    func commands(name: String) {
        // A directory has no page of its own that a command's would hide.
        #expect(reference.entries(for: name).allSatisfy { $0.kind == .directory })
    }
}
