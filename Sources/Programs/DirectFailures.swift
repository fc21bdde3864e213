import CListener
import CoherentMemory
import LinuxSupport
import SystemPackage

/// Failed pages of direct buffers.
///
/// The kernel maps such a buffer itself, and refuses a failed page its block: no request tells of the touch. A program that has an agent has a
/// userfaultfd, which reports the touch before the kernel looks for a block (shmem_get_folio_gfp() of mm/shmem.c).
extension AddressSpace {
    /// Has touches of failed pages of a buffer reported where the program maps them. What it maps later is not known.
    ///
    /// It may wait for as long as the program keeps its address space locked.
    func watchFailures(of buffer: Buffer, bytes: Range<UInt64>, in world: any ProgramWorld) {
        guard let process = state.withLock({ $0.process }), let device = world.mountDevice,
            let mappings = try? MapsReader.mappings(of: process, at: 0..<UInt64.max)
        else { return }
        for mapping in mappings where mapping.device == device && world.buffer(ofInode: mapping.inode) === buffer {
            let (end, overflow) = mapping.offset.addingReportingOverflow(UInt64(mapping.addresses.count))
            guard !overflow else { continue }
            let mapped = bytes.clamped(to: mapping.offset..<end)
            for failed in world.machine.failedRanges(of: buffer, in: mapped) {
                let start = mapping.addresses.lowerBound + (failed.lowerBound - mapping.offset)
                let addresses = start..<start + UInt64(failed.count)
                // Known before a touch is reported.
                state.withLock { state in
                    state.failures = state.failures.flatMap { $0.subtracting(addresses) }
                    state.failures.append(
                        MemoryArea(addresses: addresses, content: .buffer(buffer, offset: failed.lowerBound)))
                }
                // Not a mapping of a file that was opened to be read alone (EPERM).
                if clistener_register(faults.rawValue, start, UInt64(failed.count), 0) != 0 {
                    forgetFailures(in: addresses)
                }
            }
        }
    }

    /// The page of a direct buffer at an address whose touches are reported; nil for another address.
    func watchedFailure(at page: UInt64) -> BufferPart? {
        state.withLock { state in
            state.failures.first { $0.addresses.contains(page) }?.part(at: page..<page + Page.size)
        }
    }

    /// Lets the kernel deal with touches of addresses again, also with those that wait.
    func forgetFailures(in range: Range<UInt64>) {
        state.withLock { state in state.failures = state.failures.flatMap { $0.subtracting(range) } }
        clistener_unregister(faults.rawValue, range.lowerBound, UInt64(range.count))
    }
}
