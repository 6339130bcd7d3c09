"""How the graph runs: definitions, automation, jobs, sensors, schedules, resources and the command line."""
