import SystemPackage

extension Machine {
    /// Takes the memory of a device from its driver: its memory blocks disappear, and the memory is out of use until another
    /// driver gets it.
    ///
    /// - Throws: ENODEV unless this is the driver, or if the device is gone; EBUSY while a block is online, or while the
    ///   device file has pages, or another change of the device is in progress.
    public func unbind(_ device: Device, from driver: MemoryDriver) throws(Errno) {
        try hotplug.unbind(device, from: driver)
    }

    /// Gives the memory of a device to a driver. With ``MemoryDriver/kmem`` its blocks are new, in the state of
    /// ``autoOnline``, and the node has the rights that it had before it lost its blocks; those of an ordinary node if its
    /// memory never was in a node.
    ///
    /// - Throws: ENODEV if the device is gone, EBUSY if it has a driver or another change is in progress, ENXIO if it has
    ///   no memory.
    public func bind(_ device: Device, to driver: MemoryDriver) throws(Errno) {
        try hotplug.bind(device, to: driver)
    }
}
