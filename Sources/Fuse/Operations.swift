internal import CFuse3
import Glibc
import SystemPackage

// What libfuse calls. No callback retains the file system: a reference count that every worker writes would be what
// the workers wait for.

/// The file system behind a request, and the request.
@inline(__always)
private func serve(_ raw: fuse_req_t?, _ body: (FileSystem, consuming Request) -> Void) {
    guard let raw = unsafe raw, let userdata = unsafe fuse_req_userdata(raw) else { return }
    unsafe Unmanaged<FileSystem>.fromOpaque(userdata)._withUnsafeGuaranteedRef { system in
        unsafe body(system, Request(raw))
    }
}

/// The same for a request that names a file; a name that is no UTF-8 is answered with `otherwise`.
@inline(__always)
private func serve(
    _ raw: fuse_req_t?, _ name: UnsafePointer<CChar>?, otherwise: Errno,
    _ body: (FileSystem, consuming Request, FileName) -> Void
) {
    unsafe serve(raw) { system, request in
        guard let name = unsafe name, let name = unsafe FileName(cString: name) else {
            request.error(otherwise)
            return
        }
        body(system, request, name)
    }
}

private let illegalName = Errno.illegalByteSequence
private let unknownName = Errno.noSuchFileOrDirectory

/// The table for a file system with or without READDIRPLUS.
func makeOperations(readdirplus: Bool) -> fuse_lowlevel_ops {
    var ops = fuse_lowlevel_ops()
    setConnectionOperations(&ops)
    setNameOperations(&ops)
    setFileOperations(&ops)
    setDirectoryOperations(&ops, readdirplus: readdirplus)
    setExtendedAttributeOperations(&ops)
    return ops
}

private func setConnectionOperations(_ ops: inout fuse_lowlevel_ops) {
    unsafe ops.`init` = { userdata, info in
        guard let userdata = unsafe userdata, let info = unsafe info else { return }
        let system = unsafe Unmanaged<FileSystem>.fromOpaque(userdata).takeUnretainedValue()
        unsafe system.notifier.options.apply(to: &info.pointee, readdirplus: system.implementsReaddirplus)
        unsafe system.initialize(Connection(info.pointee))
    }
    unsafe ops.destroy = { userdata in
        guard let userdata = unsafe userdata else { return }
        unsafe Unmanaged<FileSystem>.fromOpaque(userdata).takeUnretainedValue().destroy()
    }
    unsafe ops.statfs = { raw, inode in
        unsafe serve(raw) { $0.statfs($1, inode: InodeNumber(rawValue: inode)) }
    }
}

private func setNameOperations(_ ops: inout fuse_lowlevel_ops) {
    unsafe ops.lookup = { raw, parent, name in
        unsafe serve(raw, name, otherwise: unknownName) {
            $0.lookup($1, parent: InodeNumber(rawValue: parent), name: $2)
        }
    }
    unsafe ops.forget = { raw, inode, count in
        guard let raw = unsafe raw, let userdata = unsafe fuse_req_userdata(raw) else { return }
        unsafe Unmanaged<FileSystem>.fromOpaque(userdata)._withUnsafeGuaranteedRef {
            $0.forget(InodeNumber(rawValue: inode), count: count)
        }
        unsafe fuse_reply_none(raw)
    }
    unsafe ops.forget_multi = { raw, count, forgets in
        guard let raw = unsafe raw, let userdata = unsafe fuse_req_userdata(raw) else { return }
        unsafe Unmanaged<FileSystem>.fromOpaque(userdata)._withUnsafeGuaranteedRef { system in
            for index in 0..<count {
                guard let forget = unsafe forgets?[index] else { return }
                system.forget(InodeNumber(rawValue: forget.ino), count: forget.nlookup)
            }
        }
        unsafe fuse_reply_none(raw)
    }
    unsafe ops.getattr = { raw, inode, info in
        let file = unsafe info.map { unsafe OpenFile($0.pointee) }
        unsafe serve(raw) { $0.getattr($1, inode: InodeNumber(rawValue: inode), file: file) }
    }
    unsafe ops.setattr = { raw, inode, values, fields, info in
        let file = unsafe info.map { unsafe OpenFile($0.pointee) }
        guard let values = unsafe values?.pointee else { return }
        unsafe serve(raw) {
            let changes = AttributeChanges(values, fields)
            $0.setattr($1, inode: InodeNumber(rawValue: inode), changes: changes, file: file)
        }
    }
    unsafe ops.readlink = { raw, inode in
        unsafe serve(raw) { $0.readlink($1, inode: InodeNumber(rawValue: inode)) }
    }
    unsafe ops.mknod = { raw, parent, name, mode, device in
        unsafe serve(raw, name, otherwise: illegalName) {
            $0.mknod($1, parent: InodeNumber(rawValue: parent), name: $2, mode: mode, device: UInt64(device))
        }
    }
    unsafe ops.mkdir = { raw, parent, name, mode in
        unsafe serve(raw, name, otherwise: illegalName) {
            $0.mkdir($1, parent: InodeNumber(rawValue: parent), name: $2, mode: mode)
        }
    }
    unsafe ops.unlink = { raw, parent, name in
        unsafe serve(raw, name, otherwise: unknownName) {
            $0.unlink($1, parent: InodeNumber(rawValue: parent), name: $2)
        }
    }
    unsafe ops.rmdir = { raw, parent, name in
        unsafe serve(raw, name, otherwise: unknownName) {
            $0.rmdir($1, parent: InodeNumber(rawValue: parent), name: $2)
        }
    }
    unsafe ops.symlink = { raw, target, parent, name in
        let target = unsafe target.flatMap { unsafe String(validatingCString: $0) }
        unsafe serve(raw, name, otherwise: illegalName) { system, request, name in
            guard let target else {
                request.error(illegalName)
                return
            }
            system.symlink(request, parent: InodeNumber(rawValue: parent), name: name, target: target)
        }
    }
    unsafe ops.rename = { raw, parent, name, newParent, newName, flags in
        let newName = unsafe newName.flatMap { unsafe FileName(cString: $0) }
        unsafe serve(raw, name, otherwise: unknownName) { system, request, name in
            guard let newName else {
                request.error(illegalName)
                return
            }
            system.rename(
                request, parent: InodeNumber(rawValue: parent), name: name,
                newParent: InodeNumber(rawValue: newParent), newName: newName, flags: flags)
        }
    }
    unsafe ops.link = { raw, inode, newParent, newName in
        unsafe serve(raw, newName, otherwise: illegalName) {
            $0.link(
                $1, inode: InodeNumber(rawValue: inode), newParent: InodeNumber(rawValue: newParent), newName: $2)
        }
    }
    unsafe ops.access = { raw, inode, mask in
        unsafe serve(raw) { $0.access($1, inode: InodeNumber(rawValue: inode), mask: mask) }
    }
}

private func setFileOperations(_ ops: inout fuse_lowlevel_ops) {
    unsafe ops.open = { raw, inode, info in
        guard let file = unsafe info.map({ unsafe OpenFile($0.pointee) }) else { return }
        unsafe serve(raw) { $0.open($1, inode: InodeNumber(rawValue: inode), file: file) }
    }
    unsafe ops.create = { raw, parent, name, mode, info in
        guard let file = unsafe info.map({ unsafe OpenFile($0.pointee) }) else { return }
        unsafe serve(raw, name, otherwise: illegalName) { system, request, name in
            let parent = InodeNumber(rawValue: parent)
            if name == TemporaryFile.name {
                system.tmpfile(request, parent: parent, mode: mode, file: file)
            } else {
                system.create(request, parent: parent, name: name, mode: mode, file: file)
            }
        }
    }
    unsafe ops.read = { raw, inode, size, offset, info in
        guard let file = unsafe info.map({ unsafe OpenFile($0.pointee) }) else { return }
        unsafe serve(raw) {
            $0.read($1, inode: InodeNumber(rawValue: inode), size: size, offset: Int64(offset), file: file)
        }
    }
    unsafe ops.write = { raw, inode, start, size, offset, info in
        guard let file = unsafe info.map({ unsafe OpenFile($0.pointee) }) else { return }
        unsafe serve(raw) { system, request in
            let data = unsafe UnsafeRawBufferPointer(start: start, count: size).bytes
            system.write(
                request, inode: InodeNumber(rawValue: inode), data: data, offset: Int64(offset), file: file)
        }
    }
    unsafe ops.flush = { raw, inode, info in
        guard let file = unsafe info.map({ unsafe OpenFile($0.pointee) }) else { return }
        unsafe serve(raw) { $0.flush($1, inode: InodeNumber(rawValue: inode), file: file) }
    }
    unsafe ops.release = { raw, inode, info in
        guard let file = unsafe info.map({ unsafe OpenFile($0.pointee) }) else { return }
        unsafe serve(raw) { $0.release($1, inode: InodeNumber(rawValue: inode), file: file) }
    }
    unsafe ops.fsync = { raw, inode, dataOnly, info in
        guard let file = unsafe info.map({ unsafe OpenFile($0.pointee) }) else { return }
        unsafe serve(raw) { $0.fsync($1, inode: InodeNumber(rawValue: inode), dataOnly: dataOnly != 0, file: file) }
    }
    unsafe ops.fallocate = { raw, inode, mode, offset, length, info in
        guard let file = unsafe info.map({ unsafe OpenFile($0.pointee) }) else { return }
        unsafe serve(raw) {
            $0.fallocate(
                $1, inode: InodeNumber(rawValue: inode), mode: mode, offset: Int64(offset), length: Int64(length),
                file: file)
        }
    }
    unsafe ops.copy_file_range = { raw, inode, offset, info, outInode, outOffset, outInfo, length, _ in
        guard let file = unsafe info.map({ unsafe OpenFile($0.pointee) }),
            let outFile = unsafe outInfo.map({ unsafe OpenFile($0.pointee) })
        else { return }
        unsafe serve(raw) {
            $0.copyFileRange(
                $1, from: FilePosition(inode: InodeNumber(rawValue: inode), file: file, offset: Int64(offset)),
                to: FilePosition(inode: InodeNumber(rawValue: outInode), file: outFile, offset: Int64(outOffset)),
                length: length)
        }
    }
    unsafe ops.lseek = { raw, inode, offset, whence, info in
        guard let file = unsafe info.map({ unsafe OpenFile($0.pointee) }) else { return }
        unsafe serve(raw) {
            $0.lseek($1, inode: InodeNumber(rawValue: inode), offset: Int64(offset), whence: whence, file: file)
        }
    }
    unsafe ops.poll = { raw, inode, info, handle in
        guard let file = unsafe info.map({ unsafe OpenFile($0.pointee) }) else { return }
        let events = unsafe PollEvents(rawValue: info!.pointee.poll_events)
        unsafe serve(raw) { system, request in
            let handle = unsafe handle.map { unsafe PollHandle($0, system.notifier) }
            system.poll(request, inode: InodeNumber(rawValue: inode), events: events, handle: handle, file: file)
        }
    }
    unsafe ops.ioctl = { raw, inode, command, argument, info, flags, input, inputSize, outputSize in
        guard let file = unsafe info.map({ unsafe OpenFile($0.pointee) }) else { return }
        let command = IoctlCommand(
            command: UInt32(command), argument: UInt64(UInt(bitPattern: argument)), flags: flags,
            outputSize: outputSize)
        unsafe serve(raw) { system, request in
            let bytes = unsafe UnsafeRawBufferPointer(start: input, count: input == nil ? 0 : inputSize).bytes
            system.ioctl(request, inode: InodeNumber(rawValue: inode), command: command, input: bytes, file: file)
        }
    }
}

private func setDirectoryOperations(_ ops: inout fuse_lowlevel_ops, readdirplus: Bool) {
    unsafe ops.opendir = { raw, inode, info in
        guard let file = unsafe info.map({ unsafe OpenFile($0.pointee) }) else { return }
        unsafe serve(raw) { $0.opendir($1, inode: InodeNumber(rawValue: inode), file: file) }
    }
    unsafe ops.readdir = { raw, inode, size, offset, info in
        guard let file = unsafe info.map({ unsafe OpenFile($0.pointee) }) else { return }
        unsafe serve(raw) {
            $0.readdir($1, inode: InodeNumber(rawValue: inode), size: size, offset: Int64(offset), file: file)
        }
    }
    if readdirplus {
        unsafe ops.readdirplus = { raw, inode, size, offset, info in
            guard let file = unsafe info.map({ unsafe OpenFile($0.pointee) }) else { return }
            unsafe serve(raw) {
                $0.readdirplus($1, inode: InodeNumber(rawValue: inode), size: size, offset: Int64(offset), file: file)
            }
        }
    }
    unsafe ops.releasedir = { raw, inode, info in
        guard let file = unsafe info.map({ unsafe OpenFile($0.pointee) }) else { return }
        unsafe serve(raw) { $0.releasedir($1, inode: InodeNumber(rawValue: inode), file: file) }
    }
    unsafe ops.fsyncdir = { raw, inode, dataOnly, info in
        guard let file = unsafe info.map({ unsafe OpenFile($0.pointee) }) else { return }
        unsafe serve(raw) {
            $0.fsyncdir($1, inode: InodeNumber(rawValue: inode), dataOnly: dataOnly != 0, file: file)
        }
    }
}

private func setExtendedAttributeOperations(_ ops: inout fuse_lowlevel_ops) {
    unsafe ops.setxattr = { raw, inode, name, start, size, flags in
        unsafe serve(raw, name, otherwise: illegalName) { system, request, name in
            let value = unsafe UnsafeRawBufferPointer(start: start, count: size).bytes
            system.setxattr(
                request, inode: InodeNumber(rawValue: inode), name: name.string, value: value, flags: flags)
        }
    }
    unsafe ops.getxattr = { raw, inode, name, size in
        unsafe serve(raw, name, otherwise: .noData) {
            $0.getxattr($1, inode: InodeNumber(rawValue: inode), name: $2.string, size: size)
        }
    }
    unsafe ops.listxattr = { raw, inode, size in
        unsafe serve(raw) { $0.listxattr($1, inode: InodeNumber(rawValue: inode), size: size) }
    }
    unsafe ops.removexattr = { raw, inode, name in
        unsafe serve(raw, name, otherwise: .noData) {
            $0.removexattr($1, inode: InodeNumber(rawValue: inode), name: $2.string)
        }
    }
}
