import SystemPackage

@testable import CoherentMemory

extension Model {
    func block(of address: UInt64) -> UInt64 { address / 4096 / UInt64(pagesPerBlock) }

    /// The node of an address that may have memory.
    private func node(of address: UInt64) -> Int? {
        let number = block(of: address)
        return nodes.indices.first { own[$0].contains(number) || windows[$0].contains(number) }
    }

    /// The frames of a node that failed.
    func failures(of node: Int) -> [UInt64] { failed.keys.filter { self.node(of: $0) == node } }

    /// Those of them whose blocks are online.
    func retired(_ node: Int) -> Int {
        failures(of: node).count { address in
            nodes[node].numbers.firstIndex(of: block(of: address)).map { nodes[node].blocks[$0] } ?? false
        }
    }

    /// Poisons a frame that a page has, or nobody.
    mutating func poison(_ address: UInt64, owner: (buffer: UInt64, page: UInt64)?) -> Result<Void, Errno> {
        guard let node = node(of: address), nodes[node].numbers.contains(block(of: address)) else {
            return .failure(.noSuchAddressOrDevice)
        }
        guard failed[address] == nil else { return .failure(.hardwarePoisoned) }
        failed[address] = .some(owner)
        if let owner {
            nodes[buffers[owner.buffer]!.pages[owner.page]!.node].used -= 1
            buffers[owner.buffer]!.pages[owner.page]!.failedAt = address
        }
        return .success(())
    }

    /// Moves a page away from a frame, which is then out of use.
    mutating func softOffline(_ address: UInt64, owner: (buffer: UInt64, page: UInt64)?) -> Result<Void, Errno> {
        guard let node = node(of: address) else { return .failure(.noSuchAddressOrDevice) }
        guard let place = nodes[node].numbers.firstIndex(of: block(of: address)), nodes[node].blocks[place] else {
            return .failure(.ioError)
        }
        guard failed[address] == nil else { return .success(()) }
        if let owner {
            guard let refuge = refuges(from: node).first(where: { free($0) > 0 }) else { return .failure(.noMemory) }
            nodes[node].used -= 1
            nodes[refuge].used += 1
            count(1, on: refuge, intended: node, running: 0)
            buffers[owner.buffer]!.pages[owner.page]!.node = refuge
        }
        failed[address] = .some(nil)
        return .success(())
    }

    /// Puts a frame back into service; the page that it was is a hole then.
    mutating func clear(_ address: UInt64) -> Result<Bool, Errno> {
        guard node(of: address) != nil else { return .failure(.noSuchAddressOrDevice) }
        guard let owner = failed.removeValue(forKey: address) else { return .success(false) }
        if let owner, buffers[owner.buffer]?.pages[owner.page]?.failedAt == address {
            buffers[owner.buffer]!.pages[owner.page] = nil
        }
        return .success(true)
    }
}
