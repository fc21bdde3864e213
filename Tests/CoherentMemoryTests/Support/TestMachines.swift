import Glibc
import MachineTopology
import SystemPackage

@testable import CoherentMemory

let mebibyte: UInt64 = 1 << 20

/// A touch by a task on node 0, where all CPUs of the small machines are.
let onNode0 = Origin(pid: 1, node: 0)

extension Topology {
    /// Node 0 of RAM with all CPUs, then coherent nodes 1, 2, …; sizes in MiB, blocks of 2 MiB.
    ///
    /// - Parameter contiguous: the share of each coherent node, where it is as large as that.
    static func small(
        ram: UInt64, coherent: [UInt64], contiguous: UInt64 = 0, isolation: Isolation = .exclusive
    ) throws -> Topology {
        try Topology(
            blockSize: 2 * mebibyte,
            nodes: [.ram(id: 0, memory: ram * mebibyte, cpus: IDSet(0..<IDSet.maxCPUs))]
                + coherent.enumerated().map { index, size in
                    .coherent(
                        id: index + 1, memory: size * mebibyte, isolation: isolation,
                        contiguous: min(contiguous, size) * mebibyte)
                })
    }
}

extension Machine {
    /// A small machine, see ``Topology/small(ram:coherent:contiguous:isolation:)``.
    convenience init(
        ram: UInt64, coherent: [UInt64], contiguous: UInt64 = 0, isolation: Isolation = .exclusive
    ) throws {
        try self.init(topology: .small(ram: ram, coherent: coherent, contiguous: contiguous, isolation: isolation))
    }

    /// Reads bytes in one request.
    func bytes(
        of buffer: Buffer, at offset: UInt64, count: Int, origin: Origin = onNode0, isTouch: Bool = true
    ) throws(Errno) -> [UInt8] {
        var bytes: [UInt8] = []
        try unsafe read(buffer, at: offset, length: count, origin: origin, isTouch: isTouch) { vectors in
            bytes = unsafe Self.gather(vectors)
        }
        return bytes
    }

    /// The bytes that an answer to a read is made of.
    static func gather(_ vectors: UnsafeBufferPointer<iovec>) -> [UInt8] {
        var bytes: [UInt8] = []
        for index in 0..<vectors.count {
            let vector = unsafe vectors[index]
            unsafe bytes.append(contentsOf: UnsafeRawBufferPointer(start: vector.iov_base, count: vector.iov_len))
        }
        return bytes
    }

    /// Stores bytes in one request.
    @discardableResult
    func store(
        _ bytes: [UInt8], to buffer: Buffer, at offset: UInt64, origin: Origin = onNode0, isGrowing: Bool = true
    ) throws(Errno) -> Int {
        let result: Result<Int, Errno> = unsafe bytes.withUnsafeBytes { raw in
            do throws(Errno) {
                return .success(
                    try unsafe write(raw, to: buffer, at: offset, origin: origin, isGrowing: isGrowing))
            } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }

    /// A new buffer of a policy, in words.
    func makeBuffer(_ policy: String, size: UInt64 = 0) throws(Errno) -> Buffer {
        let buffer = makeBuffer()
        try setPolicy(MemoryPolicy(parsing: policy, available: nodesWithMemory), of: buffer)
        try resize(buffer, to: size)
        return buffer
    }

    /// Pages of a buffer by node id.
    func pages(of buffer: Buffer) -> [Int: Int] {
        Dictionary(uniqueKeysWithValues: placement(of: buffer).map { ($0.node, $0.pages) })
    }
}

/// What a call came to, as a value.
func outcome<T>(_ body: () throws(Errno) -> T) -> Result<T, Errno> {
    do throws(Errno) { return .success(try body()) } catch { return .failure(error) }
}

/// The error of a call, nil when it succeeded.
func failure<T>(_ body: () throws(Errno) -> T) -> Errno? {
    do throws(Errno) {
        _ = try body()
        return nil
    } catch {
        return error
    }
}
