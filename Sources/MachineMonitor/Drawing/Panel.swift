/// A part of the view.
package enum Panel: Int, CaseIterable, Sendable {
    case nodes = 1
    case faults
    case flows
    case links
    case buffers
    case tasks
    case map
    case events

    /// The heading.
    var title: String {
        switch self {
        case .nodes: "NODES"
        case .faults: "FAULTS/s"
        case .flows: "FLOWS"
        case .links: "LINKS"
        case .buffers: "BUFFERS"
        case .tasks: "TASKS"
        case .map: "MAP"
        case .events: "EVENTS"
        }
    }

    /// Which of them are left out last where there is little room, the one with the keys aside.
    static let byImportance: [Panel] = [.nodes, .buffers, .flows, .events, .map, .faults, .links, .tasks]
}
