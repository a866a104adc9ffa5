from everyframe.pipeline.cli import main

main()
