"""Set-ups with one planted fault each, and healthy ones, for `scripts/doctor_exam.py`."""
