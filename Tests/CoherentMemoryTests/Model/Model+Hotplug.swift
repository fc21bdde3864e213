import MachineTopology
import SystemPackage

@testable import CoherentMemory

extension Model {
    /// Adds a block.
    mutating func probe(_ address: UInt64, blockSize: UInt64) -> Result<Void, Errno> {
        let number = address / blockSize
        guard address % blockSize == 0,
            let node = nodes.indices.first(where: { own[$0].contains(number) || windows[$0].contains(number) })
        else { return .failure(.invalidArgument) }
        guard nodes[node].isThere else { return .failure(.operationNotSupportedByDevice) }
        guard !nodes[node].numbers.contains(number) else { return .failure(.fileExists) }
        add([number], to: node)
        return .success(())
    }

    private mutating func add(_ numbers: [UInt64], to node: Int) {
        // Memory of a device is never the kernel's own.
        let isOnline = autoOnline != .offline && !(autoOnline == .onlineKernel && nodes[node].kind == .coherent)
        for number in numbers {
            let place = nodes[node].numbers.firstIndex { $0 > number } ?? nodes[node].numbers.count
            nodes[node].numbers.insert(number, at: place)
            nodes[node].blocks.insert(isOnline, at: place)
        }
    }

    /// Removes a device whose blocks are all offline. Its memory has moved away; what that held is gone.
    mutating func remove(_ device: UInt64, node: Int) -> Result<Void, Errno> {
        guard nodes[node].isThere else { return .failure(.operationNotSupportedByDevice) }
        guard !nodes[node].blocks.contains(true) else { return .failure(.resourceBusy) }
        nodes[node].isThere = false
        for address in failures(of: node) { failed[address] = nil }
        nodes[node].blocks = []
        nodes[node].numbers = []
        for page in Array(buffers[device]!.pages.keys) { free(page: page, of: device) }
        return .success(())
    }

    mutating func rescan() {
        for node in nodes.indices where !nodes[node].isThere {
            nodes[node].isThere = true
            nodes[node].isIsolated = isolations[node]
            add(own[node], to: node)
        }
    }
}
