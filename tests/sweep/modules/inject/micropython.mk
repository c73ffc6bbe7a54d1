SRC_USERMOD_C += $(USERMOD_DIR)/modinject.c

# MicroPython's own files, with our hooks in them: each jump of bytecode, and where C code waits.
INJECT_DIR := $(USERMOD_DIR)
$(BUILD)/vm.o $(BUILD)/py/scheduler.o: CFLAGS += -include $(INJECT_DIR)/hooks.h
$(BUILD)/nativeglue.o: CFLAGS += -D'CSTACK_HAS_ROOM()=false'
# What modinject.c defines in their place calls these.
$(BUILD)/gc.o: CFLAGS += -include $(INJECT_DIR)/gc_names.h
$(BUILD)/cstack.o: CFLAGS += -include $(INJECT_DIR)/cstack.h
# With other flags, other objects.
$(addprefix $(BUILD)/, vm.o nativeglue.o py/scheduler.o gc.o cstack.o): $(INJECT_DIR)/micropython.mk
