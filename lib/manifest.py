# SPDX-License-Identifier: MIT
metadata(description="Virtio devices and the queues beneath them.", version="0.1.0")
package("virtio")
