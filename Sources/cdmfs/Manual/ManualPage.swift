import ArgumentParser
import CoherentMemory
import MachineTopology

/// The pages of the manual, made of what `--help` and the topology reader go by.
enum ManualPage: String, CaseIterable, ExpressibleByArgument {
    /// cdmfs(1)
    case command = "cdmfs"
    /// cdmfs-topology(5)
    case topology = "cdmfs-topology"
    /// mount.cdmfs(8)
    case mount = "mount.cdmfs"

    /// The page in the words of mdoc(7).
    func text() throws -> String {
        switch self {
        case .command: try CommandTree.dumped().page
        case .topology: Self.topologyPage
        case .mount: Self.mountPage
        }
    }

    private static var topologyPage: String {
        var page = Mdoc("cdmfs-topology", section: 5, summary: "description of a simulated machine")
        page.section("DESCRIPTION")
        page.paragraphs(
            """
            A topology file is TOML. It describes nodes, their distances, and the size of memory blocks. `cdmfs mount \
            --topology FILE` makes the machine. `cdmfs topology --check FILE` prints the file with every default filled in, or \
            one line with an error and its place.

            A SIZE is a number of bytes: a string with the suffix K, M, G or T (powers of 1024), or a plain number. A LIST has \
            the format of Linux, such as "0-3,8". Unknown keys are refused.
            """)
        for table in TopologyKey.Table.allCases {
            page.section(table == .machine ? "THE MACHINE" : table.rawValue)
            page.list(table.keys.map { ("\($0.name) = \($0.form)", $0.explanation) })
        }
        page.section("PRESETS")
        page.paragraphs("`cdmfs topology --preset NAME` prints one of these.")
        page.list(
            Topology.presets.map { preset in
                let comment = preset.toml.split(separator: "\n").prefix { $0.hasPrefix("#") }.map { $0.dropFirst() }
                // The drawing below it is for who reads the file.
                let words = comment.prefix { !$0.hasPrefix("   ") && !$0.isEmpty }
                return (preset.name, words.map { $0.dropFirst() }.joined(separator: " "))
            })
        page.section("EXAMPLES")
        page.paragraphs("The default machine:")
        page.literal(Topology.presets[0].toml.split(separator: "\n", omittingEmptySubsequences: false).map(String.init))
        page.references([("cdmfs", 1), ("mount.cdmfs", 8)])
        return page.text
    }

    private static var mountPage: String {
        var page = Mdoc("mount.cdmfs", section: 8, summary: "mount a simulated machine, for mount(8) and fstab(5)")
        page.section("SYNOPSIS")
        page.literal([
            "mount -t cdmfs [-o OPTIONS] SOURCE DIRECTORY",
            "mount.cdmfs SOURCE DIRECTORY [-sfnvr] [-N NAMESPACE] [-o OPTIONS] [-t TYPE]",
        ])
        page.section("DESCRIPTION")
        page.paragraphs(
            """
            mount(8) runs this helper for the types cdmfs and fuse.cdmfs; the helper runs `cdmfs mount`. SOURCE is any word, \
            which mount(8) shows as the source. A mount over a mount of the same source is refused.
            """)
        page.section("OPTIONS")
        page.list(
            MountWord.all.map { word in
                (word.usage, capitalized(word.meaning) + (word.fallback.map { "; default: \($0)." } ?? "."))
            } + [
                (
                    "ro, noexec, noatime, sync, …",
                    "As for any file system. Generic mount(8) and fstab(5) options are accepted and ignored."
                )
            ])
        page.section("ENVIRONMENT")
        page.list([("CDMFS", "The cdmfs to run. Default: the one of the same build, then the first in PATH.")])
        page.section("EXIT STATUS")
        page.paragraphs(
            "0 on success, 32 if the mount fails, 64 for wrong usage, 65 for an invalid topology file, as of `cdmfs mount`."
        )
        page.section("EXAMPLES")
        page.paragraphs("A line of /etc/fstab:")
        page.literal(["lab  /mnt/cdm  cdmfs  topology=/etc/cdmfs/lab.toml,nofail  0  0"])
        page.references([("cdmfs", 1), ("fstab", 5), ("cdmfs-topology", 5), ("mount", 8)])
        return page.text
    }

    static func capitalized(_ text: String) -> String { text.prefix(1).uppercased() + text.dropFirst() }
}

extension TopologyKey {
    /// The meaning and the default.
    var explanation: String { meaning + (fallback.map { " Default: \($0)." } ?? "") }
}
