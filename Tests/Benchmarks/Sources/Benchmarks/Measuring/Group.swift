/// Rows that share their mounts, and a table.
struct Group: Sendable {
    /// What `--group` takes, and the names of its plots begin with.
    let name: String
    let title: String
    /// The columns of its table. None where each row has a peer of its own, which the table of ratios shows.
    let columns: [Contestant]
    /// Whether it is measured without being asked for.
    var isUsual = true
    /// Mounts what is needed, and gives the trials to `body` while it is there.
    let measure: @Sendable (_ stage: Stage, _ body: ([Trial]) throws -> Void) throws -> Void

    static let all = [
        mapped, random, descriptors, names, requestsOnOneCPU, requestsUnpinned, fio, moving, draining, memory, poison,
        device, tracing, programs, listing, scale, crowds,
    ]
}
