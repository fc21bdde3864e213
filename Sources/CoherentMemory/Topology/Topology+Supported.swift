extension Topology {
    /// Refuses what a topology file may say but this version of the machine cannot do: the isolations
    /// ``Isolation/restricted`` and ``Isolation/driver``.
    ///
    /// - Parameter file: the name of the file in the message, if there was one.
    public func validateSupported(file: String? = nil) throws(TopologyError) {
        for node in nodes where node.isolation == .restricted || node.isolation == .driver {
            throw TopologyError(
                .data, at: file,
                found: "node \(node.id): isolation \"\(node.isolation.rawValue)\" is not supported yet",
                expected: "\"none\" or \"exclusive\"")
        }
    }
}
