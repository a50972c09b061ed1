"""Edge agent: reads plant devices, computes emissions, signs and delivers the evidence."""

__version__ = "0.1.0"
