import CoherentMemory
import MachineTopology
import SystemPackage

/// Where the description of a machine comes from.
enum MachineSource {
    case file(String)
    case preset(String)

    /// The machine where none is chosen.
    static let `default` = MachineSource.preset("default")

    /// Reads and validates it.
    func topology() throws(Failure) -> Topology {
        do throws(TopologyError) {
            switch self {
            case .file(let path): return try Topology(contentsOf: FilePath(path))
            case .preset(let name): return try Topology(preset: name)
            }
        } catch {
            throw Failure(error)
        }
    }

    /// The words by which `cdmfs mount` takes it.
    var argument: String {
        switch self {
        case .file(let path): "--topology=\(path)"
        case .preset(let name): "--preset=\(name)"
        }
    }
}
