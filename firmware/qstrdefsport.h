// SPDX-License-Identifier: MIT
// qstrs specific to this port
// *FORMAT-OFF*
Q(/lib)
Q(virtio.drivers.lan)
